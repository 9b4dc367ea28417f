#include "launch/train/weight_source.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "model/config.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

// What the model's output has as a factor with the parameter.
double factor_of(std::string_view parameter, const ForwardMultipliers& multipliers) {
  if (parameter == "model.norm.weight") return multipliers.logits;
  const std::string_view name = place_of(parameter).name;
  return name == "attn.o_proj.weight" || name == "mlp.down_proj.weight" ? multipliers.residual : 1;
}

// The checkpoint's configuration, once it is known to be that of the stored parameters.
RunConfig checked_config(const CheckpointReader& checkpoint) {
  const CheckpointManifest& manifest = checkpoint.manifest();
  RunConfig config = manifest.config();
  try {
    *config.mutable_model() = resolve(config.model());
    require(config.model().layers() <= manifest.parameters_size(),
            "model.layers is {}, but there are {} parameters in all", config.model().layers(),
            manifest.parameters_size());
  } catch (const Error& error) {
    fail("{}: {}", checkpoint.folder().string(), error.what());
  }
  check_parameters(checkpoint, parameter_specs(config.model()));
  return config;
}

}  // namespace

CheckpointWeights::CheckpointWeights(const std::filesystem::path& folder)
    : reader_(resolve_checkpoint(folder)), config_(checked_config(reader_)) {}

void CheckpointWeights::read(const std::string& parameter, const ParameterSlice& slice, std::int64_t begin,
                             std::span<float> out) const {
  reader_.read(parameter, "weight", slice, begin, out);
}

void FoldedWeights::read(const std::string& parameter, const ParameterSlice& slice, std::int64_t begin,
                         std::span<float> out) const {
  weights_.read(parameter, slice, begin, out);
  const double factor = factor_of(parameter, weights_.forward_multipliers()) / factor_of(parameter, multipliers_);
  if (factor == 1) return;
  for (float& weight : out) weight = static_cast<float>(weight * factor);
}

void read_finite(const WeightSource& weights, const Parameter& parameter, std::int64_t begin, std::span<float> out) {
  weights.read(parameter.spec.name, parameter.part.slice, begin, out);
  const auto wrong = std::ranges::find_if_not(out, [](float x) { return std::isfinite(x); });
  if (wrong == out.end()) return;
  fail("{}: element {} of {} is {}, expected finite weights", weights.folder().string(),
       parameter.slice_map().whole_index(begin + (wrong - out.begin())), parameter.spec.name, *wrong);
}

}  // namespace mudelta
