#include "launch/train/step_traffic.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/dtype.h"
#include "launch/train/stored_model.h"
#include "launch/train/unit_elements.h"
#include "model/mixer.h"
#include "model/parameter_parts.h"
#include "model/parameters.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

using Kind = CollectiveKind;

constexpr double kFloat = 4;  // bytes

class StepCollectives {
 public:
  StepCollectives(const RunConfig& config, const MeshSizes& sizes, int tensor_rank)
      : config_(config),
        model_(config.model()),
        sizes_(sizes),
        place_{tensor_rank, sizes.tensor, sequence_parallel(config.parallel()) && sizes.tensor > 1},
        stage_(zero_stage(config.parallel(), sharing_ranks())),
        value_bytes_(static_cast<double>(size_of(compute_dtype(config.train())))),
        forward_passes_(model_.recompute() == ModelConfig::FULL ? 2 : 1) {
    const TrainConfig& train = config.train();
    const std::int64_t share = train.global_batch() / sizes.data;
    const std::int64_t micro = train.has_micro_batch() ? std::min(train.micro_batch(), share) : share;
    micro_batches_ = static_cast<double>(share / micro);
    rows_ = static_cast<double>(micro);
    row_length_ = train.sequence_length() / sizes.context;
  }

  std::vector<Collective> all() && {
    if (sizes_.tensor > 1) add_rows();
    if (sizes_.tensor > 1) add_partial_gradients();
    if (sizes_.context > 1) add_states();
    if (sharing_ranks() > 1) add_gradients_and_values();
    if (kind_of(config_.optimizer()) == OptimizerKind::kMuon && ranks() > 1) add_matrices();
    return std::move(found_);
  }

 private:
  int sharing_ranks() const { return sizes_.data * sizes_.context; }
  int ranks() const { return sharing_ranks() * sizes_.tensor; }
  double layers() const { return static_cast<double>(model_.layers()); }
  // From ZeRO stage 2 on each micro-batch's gradients are summed.
  double sums_of_gradients() const { return stage_ >= 2 ? micro_batches_ : 1; }

  // Of the residual stream, around the mixer and the MLP of each block, at the readout, and at the embedding, where
  // they are float32; and of the loss, a maximum and two sums a token.
  void add_rows() {
    const double tokens = rows_ * static_cast<double>(row_length_);
    const double elements = tokens * static_cast<double>(model_.width()), rows = elements * value_bytes_;
    const auto add = [&](Kind kind, double bytes, double calls) {
      found_.push_back({Axis::kTensor, sizes_.tensor, kind, bytes, calls * micro_batches_});
    };
    if (place_.cuts_rows) {
      add(Kind::kAllGather, rows, layers() * (2 * forward_passes_ + 4) + 1);
      add(Kind::kReduceScatter, rows, layers() * (2 * forward_passes_ + 2) + 1);
      add(Kind::kAllGather, elements * kFloat, 1);
      add(Kind::kReduceScatter, elements * kFloat, 1);
    } else {
      add(Kind::kAllReduce, rows, layers() * (2 * forward_passes_ + 2) + 1);
      add(Kind::kAllReduce, elements * kFloat, 1);
    }
    add(Kind::kAllReduce, tokens * kFloat, 1);
    add(Kind::kAllReduce, 2 * tokens * kFloat, 1);
  }

  // Those of a unit that the same ranks hold are summed together.
  void add_partial_gradients() {
    ModelConfig one_block = model_;
    one_block.set_layers(1);
    const std::vector<ParameterSpec> specs = parameter_specs(one_block);
    const std::vector<ParameterPart> parts = parameter_parts(specs, place_);
    std::map<std::pair<int, int>, double> elements;  // by unit and number of ranks
    for (std::size_t i = 0; i < specs.size(); ++i) {
      if (!parts[i].is_partial) continue;
      elements[{specs[i].unit, parts[i].copies}] +=
          static_cast<double>(SliceMap(specs[i].shape, parts[i].slice).numel());
    }
    for (const auto& [key, count] : elements) {
      const auto [unit, copies] = key;
      found_.push_back({Axis::kTensor, copies, Kind::kAllReduce, count * kFloat,
                        sums_of_gradients() * (unit == 1 ? layers() : 1), Beside::kBackward});
    }
  }

  // Of each row: forward H and M, backward dH and M; rows of the convolutions, and their gradients.
  void add_states() {
    const Mixer::Sizes s = Mixer::part_sizes(model_, sizes_.tensor);
    const double parts = rows_ * sizes_.context;
    const double states = parts * static_cast<double>(s.value_heads * s.head_dim * (s.value_dim + s.head_dim)) * kFloat;
    const double halo_row = parts * static_cast<double>(2 * s.keys() + s.values());
    const std::int64_t taps = s.conv_size - 1;
    const auto add = [&](double bytes, double calls) {
      if (bytes > 0)
        found_.push_back({Axis::kContext, sizes_.context, Kind::kAllGather, bytes, calls * layers() * micro_batches_});
    };
    add(states, forward_passes_ + 1);
    add(halo_row * static_cast<double>(std::min(taps, row_length_)) * value_bytes_, forward_passes_);
    add(halo_row * static_cast<double>(taps) * kFloat, 1);
  }

  void add_gradients_and_values() {
    const UnitElements units = unit_elements(model_, compute_dtype(config_.train()), place_);
    const auto value_bytes = [&](const Elements& e) { return e.compute * value_bytes_ + e.wide * kFloat; };
    const auto add = [&](Kind kind, double bytes, double calls, Beside beside) {
      found_.push_back({Axis::kGradients, sharing_ranks(), kind, bytes, calls, beside});
    };
    add(stage_ == 0 ? Kind::kAllReduce : Kind::kReduceScatter, units.all().count() * kFloat, sums_of_gradients(),
        Beside::kBackward);
    if (stage_ == 1 || stage_ == 2) add(Kind::kAllGather, value_bytes(units.all()), 1, Beside::kUpdate);
    if (stage_ < 3) return;
    // A tied head needs the embedding; it is still there behind a single block.
    const bool embeds_again = model_.tie_embeddings() && model_.layers() > 1;
    add(Kind::kAllGather, value_bytes(embeds_again ? units.all() + units.embedding : units.all()), micro_batches_,
        Beside::kForward);
    add(Kind::kAllGather, value_bytes(units.block * units.blocks), micro_batches_, Beside::kBackward);
  }

  // Each to its owner, and back (optim/matrix_owners.h).
  void add_matrices() {
    const double bytes = unit_elements(model_, DType::kFloat32, {}).all().hidden * kFloat;
    for (const Kind kind : {Kind::kAllReduce, Kind::kBroadcast}) {
      found_.push_back({Axis::kWorld, ranks(), kind, bytes, 1});
    }
  }

  const RunConfig& config_;
  const ModelConfig& model_;
  MeshSizes sizes_;
  TensorPlace place_;
  int stage_;
  double value_bytes_;           // of an element in the compute dtype
  double forward_passes_;        // a micro-batch, through each block
  double micro_batches_ = 0;     // a step
  double rows_ = 0;              // of each
  std::int64_t row_length_ = 0;  // of a rank's part
  std::vector<Collective> found_;
};

}  // namespace

std::string_view name_of(Axis axis) {
  switch (axis) {
    case Axis::kTensor: return "tensor";
    case Axis::kContext: return "context";
    case Axis::kGradients: return "data x context";
    case Axis::kWorld: return "world";
  }
  return "";
}

double Collective::sent_bytes() const {
  const double share = bytes * (ranks - 1) / ranks;
  return kind == CollectiveKind::kAllReduce ? 2 * share : share;
}

std::vector<Collective> step_traffic(const RunConfig& config, const MeshSizes& sizes, int tensor_rank) {
  return StepCollectives(config, sizes, tensor_rank).all();
}

double sent_bytes(const std::vector<Collective>& traffic, Axis axis) {
  double sum = 0;
  for (const Collective& collective : traffic) {
    if (collective.axis == axis) sum += collective.calls * collective.sent_bytes();
  }
  return sum;
}

}  // namespace mudelta
