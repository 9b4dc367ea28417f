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

constexpr std::string_view kFinalNorm = "model.norm.weight";

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
  if (parameter != kFinalNorm || weights_.logit_multiplier() == logit_multiplier_) return;
  const double factor = weights_.logit_multiplier() / logit_multiplier_;
  for (float& gain : out) gain = static_cast<float>(gain * factor);
}

void read_finite(const WeightSource& weights, const Parameter& parameter, std::int64_t begin, std::span<float> out) {
  weights.read(parameter.spec.name, parameter.part.slice, begin, out);
  const auto wrong = std::ranges::find_if_not(out, [](float x) { return std::isfinite(x); });
  if (wrong == out.end()) return;
  fail("{}: element {} of {} is {}, expected finite weights", weights.folder().string(),
       parameter.slice_map().whole_index(begin + (wrong - out.begin())), parameter.spec.name, *wrong);
}

}  // namespace mudelta
