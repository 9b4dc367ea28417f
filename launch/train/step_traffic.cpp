#include "launch/train/step_traffic.h"

#include <algorithm>

#include "core/dtype.h"
#include "launch/train/stored_model.h"
#include "model/mixer.h"
#include "model/parameter_parts.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

// What goes around a ring of `ranks` ranks, but for each rank's own part.
double ring_share(int ranks) { return (ranks - 1.0) / ranks; }

// Within the tensor group, of a token: what travels is the residual stream, in the compute dtype between layers and in
// float32 at the embedding, and the statistics of the loss. Sums over rows (all_reduce) are twice what gathers and
// scatters of rows are, and replace a pair of them; but rows that are cut are gathered a second time for the backward
// pass.
double bytes_of_token(const RunConfig& config) {
  constexpr double kFloat32 = 4, kLossSums = 3;
  const auto width = static_cast<double>(config.model().width());
  const auto narrow = static_cast<double>(size_of(compute_dtype(config.train())));
  const double forward = 4, backward = sequence_parallel(config.parallel()) ? 6 : 4;
  const double again = config.model().recompute() == ModelConfig::FULL ? forward : 0;
  const double layers = config.model().layers() * (forward + again + backward) * narrow;
  const double ends = 2 * kFloat32 + 2 * narrow;
  return (layers + ends) * width + 2 * kFloat32 * kLossSums;
}

// Within the context group, of a row: at each layer the states of a rank's part (forward: H and M, backward: dH and M)
// and rows of the convolutions, from every rank to every other.
double bytes_of_row(const RunConfig& config, const MeshSizes& sizes) {
  constexpr double kFloat32 = 4;
  const Mixer::Sizes s = Mixer::part_sizes(config.model(), sizes.tensor);
  const auto narrow = static_cast<double>(size_of(compute_dtype(config.train())));
  const auto states = static_cast<double>(s.value_heads * s.head_dim * (s.value_dim + s.head_dim)) * kFloat32;
  const auto channels = static_cast<double>(2 * s.keys() + s.values());
  const std::int64_t taps = s.conv_size - 1;
  const std::int64_t tail = std::min(taps, config.train().sequence_length() / sizes.context);
  const double forward = states + static_cast<double>(tail) * channels * narrow;
  const double backward = states + static_cast<double>(taps) * channels * kFloat32;
  const double again = config.model().recompute() == ModelConfig::FULL ? forward : 0;
  return config.model().layers() * (forward + again + backward) * (sizes.context - 1.0);
}

}  // namespace

StepTraffic step_traffic(const RunConfig& config, const MeshSizes& sizes, int tensor_rank) {
  const std::vector<ParameterSpec> specs = parameter_specs(config.model());
  const std::vector<ParameterPart> parts =
      parameter_parts(specs, {tensor_rank, sizes.tensor, sequence_parallel(config.parallel()) && sizes.tensor > 1});
  const double dtype_bytes = static_cast<double>(size_of(compute_dtype(config.train())));
  const auto rows = static_cast<double>(config.train().global_batch() / sizes.data);
  const double tokens = rows * static_cast<double>(config.train().sequence_length() / sizes.context);

  StepTraffic traffic{.tensor = tokens * bytes_of_token(config) * ring_share(sizes.tensor),
                      .context = rows * bytes_of_row(config, sizes)};
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const ParameterPart part = parts.empty() ? ParameterPart() : parts[i];
    const auto numel = static_cast<double>(SliceMap(specs[i].shape, part.slice).numel());
    if (part.is_partial) traffic.tensor += 2 * 4 * numel * ring_share(part.copies);
    const double value_bytes = specs[i].keep_float32 ? 4 : dtype_bytes;
    traffic.gradients += numel * (4 + value_bytes) * ring_share(sizes.data * sizes.context);
  }
  return traffic;
}

}  // namespace mudelta
