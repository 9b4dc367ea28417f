#include "optim/matrix_owners.h"

#include <algorithm>
#include <map>

#include "kernels/slice_copy.h"
#include "optim/newton_schulz.h"
#include "optim/optimizer.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

// In proportion to the products of an iteration.
double cost_of(const Shape& shape) {
  return static_cast<double>(shape.numel()) * static_cast<double>(std::min(shape[0], shape[1]));
}

}  // namespace

MatrixOwners::MatrixOwners(const MuonConfig& config, std::span<const Parameter> parameters, ProcessGroup world)
    : config_(config), world_(std::move(world)) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const ParameterSpec& spec = parameters[i].spec;
    if (update_kind(OptimizerKind::kMuon, spec.role) != OptimizerKind::kMuon || spec.shape.numel() == 0) continue;
    require(spec.shape.rank() == 2, "[muon] {} is {}, expected a matrix", spec.name, spec.shape.to_string());
    matrices_.push_back({i, spec.shape, parameters[i].slice_map(), parameters[i].part.copy == 0});
  }
  std::ranges::stable_sort(matrices_, std::greater{}, [](const Matrix& matrix) { return cost_of(matrix.shape); });
}

MatrixOwners::Pieces MatrixOwners::pieces_of(std::span<const OptimizerSegment> segments) const {
  std::map<std::size_t, std::size_t> places;  // in matrices_, by parameter
  for (std::size_t i = 0; i < matrices_.size(); ++i) places[matrices_[i].parameter] = i;
  Pieces pieces(matrices_.size());
  for (const OptimizerSegment& segment : segments) {
    const auto place = places.find(segment.parameter);
    if (place == places.end()) continue;
    pieces[place->second].push_back({segment.begin, segment.gradient, segment.is_own});
  }
  return pieces;
}

// On all ranks. Each element has one contributor: sums are exact.
void MatrixOwners::put_together(const Matrix& matrix, std::span<const Piece> pieces, const Tensor& whole,
                                Stream stream) const {
  whole.fill_zero();
  for (const Piece& piece : pieces) {
    if (piece.is_own && matrix.is_first_copy) {
      kernels::put_part(matrix.map, piece.begin, piece.gradient, whole, stream);
    }
  }
  world_.all_reduce(whole, ReduceOp::kSum, stream);
}

void MatrixOwners::orthogonalize_gradients(std::span<const OptimizerSegment> segments, Stream stream) const {
  const Pieces pieces = pieces_of(segments);
  const auto ranks = static_cast<std::size_t>(world_.size()), rank = static_cast<std::size_t>(world_.rank());
  const Tensor square_sum = Tensor::empty({1}, DType::kFloat64, stream.device());
  for (std::size_t begin = 0; begin < matrices_.size(); begin += ranks) {
    const std::span round = std::span(matrices_).subspan(begin, std::min(ranks, matrices_.size() - begin));
    Tensor own, others;  // the latter one after another
    const auto whole = [&](std::size_t owner) {
      Tensor& buffer = owner == rank ? own : others;
      const std::int64_t numel = round[owner].shape.numel();
      if (!buffer.defined() || buffer.numel() < numel) {
        buffer = Tensor::empty({numel}, DType::kFloat32, stream.device());
      }
      return buffer.flat_view(0, round[owner].shape);
    };
    for (std::size_t owner = 0; owner < round.size(); ++owner) {
      put_together(round[owner], pieces[begin + owner], whole(owner), stream);
    }
    if (rank < round.size()) orthogonalize(whole(rank), config_, square_sum, stream);
    for (std::size_t owner = 0; owner < round.size(); ++owner) {
      world_.broadcast(whole(owner), static_cast<int>(owner), stream);
      for (const Piece& piece : pieces[begin + owner]) {
        kernels::take_part(round[owner].map, piece.begin, whole(owner), piece.gradient, stream);
      }
    }
  }
}

LiveTensors MatrixOwners::memory(const MuonConfig& config, const Shape& shape, int ranks, Device device) {
  LiveTensors live;
  for (int i = 0; i < std::min(ranks, 2); ++i) live.add(shape, DType::kFloat32);
  return live + orthogonalize_workspace(shape[0], shape[1], config, device);
}

}  // namespace mudelta
