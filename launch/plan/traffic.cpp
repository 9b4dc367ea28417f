#include "launch/plan/traffic.h"

#include <algorithm>

#include "launch/plan/local_shape.h"
#include "launch/train/stored_model.h"
#include "model/mixer.h"

namespace mudelta {
namespace {

using Kind = CollectiveKind;

constexpr double kFloat = 4;  // bytes

void add_tensor_traffic(const RunConfig& config, const LocalShape& local, std::vector<Collective>& traffic) {
  const ModelConfig& model = config.model();
  const auto micro_batches = static_cast<double>(local.micro_batches), layers = static_cast<double>(model.layers());
  const double elements = static_cast<double>(local.tokens) * static_cast<double>(model.width());
  const double rows = elements * static_cast<double>(size_of(compute_dtype(config.train())));
  const double forward_passes = model.recompute() == ModelConfig::FULL ? 2 : 1;
  const auto add = [&](Kind kind, double bytes, double calls) {
    traffic.push_back({Axis::kTensor, kind, bytes, calls * micro_batches});
  };
  // Around the mixer and the MLP of each block; at the readout; at the embedding, whose rows are float32.
  if (sequence_parallel(config.parallel())) {
    add(Kind::kAllGather, rows, layers * (2 * forward_passes + 4) + 1);
    add(Kind::kReduceScatter, rows, layers * (2 * forward_passes + 2) + 1);
    add(Kind::kAllGather, elements * kFloat, 1);
    add(Kind::kReduceScatter, elements * kFloat, 1);
  } else {
    add(Kind::kAllReduce, rows, layers * (2 * forward_passes + 2) + 1);
    add(Kind::kAllReduce, elements * kFloat, 1);
  }
}

void add_context_traffic(const RunConfig& config, const LocalShape& local, std::vector<Collective>& traffic) {
  const ModelConfig& model = config.model();
  const Mixer::Sizes s = Mixer::part_sizes(model, local.mesh.tensor);
  const auto parts = static_cast<double>(local.sequences * local.mesh.context);
  const double states = parts * static_cast<double>(s.values() * s.head_dim) * kFloat;
  const double transitions = parts * static_cast<double>(s.value_heads * s.head_dim * s.head_dim) * kFloat;
  const double halo_row = parts * static_cast<double>(2 * s.keys() + s.values());
  const std::int64_t taps = s.conv_size - 1;
  const double halo = halo_row * static_cast<double>(std::min(taps, local.tokens / local.sequences)) *
                      static_cast<double>(size_of(compute_dtype(config.train())));
  const double layers = static_cast<double>(model.layers()) * static_cast<double>(local.micro_batches);
  const double forward_passes = model.recompute() == ModelConfig::FULL ? 2 : 1;
  const auto add = [&](double bytes, double calls) {
    if (bytes > 0) traffic.push_back({Axis::kContext, Kind::kAllGather, bytes, calls * layers});
  };
  add(states + transitions, forward_passes + 1);
  add(halo, forward_passes);
  add(halo_row * static_cast<double>(taps) * kFloat, 1);  // gradients
}

// Buckets and units make many calls of what is one here: their latency is beside other work but for the first or last.
void add_gradient_traffic(const RunConfig& config, const LocalShape& local, std::vector<Collective>& traffic) {
  const int stage = config.parallel().zero_stage();
  const auto micro_batches = static_cast<double>(local.micro_batches);
  const double gradients = local.elements * kFloat;
  const double values = local.elements * static_cast<double>(size_of(compute_dtype(config.train())));
  const auto add = [&](Kind kind, double bytes, double calls, Beside beside) {
    traffic.push_back({Axis::kGradients, kind, bytes, calls, beside});
  };
  if (stage == 0) {
    add(Kind::kAllReduce, gradients, 1, Beside::kBackward);
    return;
  }
  add(Kind::kReduceScatter, gradients, stage == 1 ? 1 : micro_batches, Beside::kBackward);
  if (stage < 3) {
    add(Kind::kAllGather, values, 1, Beside::kUpdate);
  } else {
    add(Kind::kAllGather, values, micro_batches, Beside::kForward);
    add(Kind::kAllGather, values, micro_batches, Beside::kBackward);
  }
}

}  // namespace

std::string_view name_of(Axis axis) {
  switch (axis) {
    case Axis::kTensor: return "tensor";
    case Axis::kContext: return "context";
    case Axis::kGradients: return "data x context";
  }
  return "";
}

double Collective::sent_bytes(int ranks) const {
  const double share = bytes * (ranks - 1) / ranks;
  return kind == CollectiveKind::kAllReduce ? 2 * share : share;
}

std::vector<Collective> traffic_of(const RunConfig& config, int devices) {
  const LocalShape local = local_shape(config, devices);
  std::vector<Collective> traffic;
  if (local.mesh.tensor > 1) add_tensor_traffic(config, local, traffic);
  if (local.mesh.context > 1) add_context_traffic(config, local, traffic);
  if (local.mesh.data * local.mesh.context > 1) add_gradient_traffic(config, local, traffic);
  return traffic;
}

}  // namespace mudelta
