#pragma once

#include <span>
#include <vector>

#include "core/live_tensors.h"
#include "core/parameter.h"
#include "dist/process_group.h"
#include "optim/config.pb.h"

namespace mudelta {

struct OptimizerSegment;

// Makes the directions of Muon's updates orthogonal. That needs whole matrices, of which a rank has runs of elements
// only, whatever is cut (data, context, tensor ranks, ZeRO stage): each matrix has an owner among all ranks, which gets
// it whole, and from which all others get the result. Ranks own matrices by rounds of one each, the costly ones first,
// so that all work at the same time. A direction has the same bits in every layout if the gradients have.
class MatrixOwners {
 public:
  // Matrices are the HIDDEN ones of `parameters`, of which each is one logical matrix. `world`: all ranks, whose own
  // segments together hold the model.
  MatrixOwners(const MuonConfig& config, std::span<const Parameter> parameters, ProcessGroup world);

  // Replaces the gradients of the matrices' segments, which are Muon's momentum, by those of about U V^T
  // (optim/newton_schulz.h). Two collectives a matrix: it is summed, and broadcast. Collective over `world`.
  void orthogonalize_gradients(std::span<const OptimizerSegment> segments, Stream stream) const;

  // What that allocates at a time, for matrices no larger than `shape`.
  static LiveTensors memory(const MuonConfig& config, const Shape& shape, int ranks, Device device);

 private:
  struct Matrix {
    std::size_t parameter;
    Shape shape;
    SliceMap map;        // this rank's part
    bool is_first_copy;  // of the ranks that hold the same part
  };
  struct Piece {
    std::int64_t begin;
    Tensor gradient;
    bool is_own;
  };
  using Pieces = std::vector<std::vector<Piece>>;  // of each matrix

  Pieces pieces_of(std::span<const OptimizerSegment> segments) const;
  void put_together(const Matrix& matrix, std::span<const Piece> pieces, const Tensor& whole, Stream stream) const;

  MuonConfig config_;
  std::vector<Matrix> matrices_;  // the costly ones first: rank r owns every size()-th from the r-th on
  ProcessGroup world_;
};

}  // namespace mudelta
