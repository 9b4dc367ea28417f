#pragma once

#include <algorithm>
#include <filesystem>
#include <string>

#include "launch/config/run_config.h"
#include "launch/train/scaling.h"
#include "launch/train/weight_source.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {

// Random weights of a model, as those of a run whose configuration is `given`.
class MemoryWeights : public WeightSource {
 public:
  explicit MemoryWeights(const RunConfig& given, std::uint64_t seed = 1)
      : config_(complete(given)),
        small(config_.model(), DType::kFloat32, make_parametrization(config_).forward_multipliers(), seed) {}

  const std::filesystem::path& folder() const override { return folder_; }
  const RunConfig& config() const override { return config_; }
  ForwardMultipliers forward_multipliers() const override {
    return make_parametrization(config_).forward_multipliers();
  }
  TrainingState state() const override {
    TrainingState state;
    state.set_step(7);
    state.set_tokens(700);
    return state;
  }
  void read(const std::string& parameter, const ParameterSlice& slice, std::int64_t begin,
            std::span<float> out) const override {
    const Parameter& whole = small.store.find(parameter);
    SliceMap(whole.spec.shape, slice).for_each_run(begin, begin + std::ssize(out), [&](const SliceRun& run) {
      std::ranges::copy(whole.value.span<float>().subspan(run.whole, run.numel), out.begin() + (run.local - begin));
    });
  }

 private:
  static RunConfig complete(RunConfig config) {
    *config.mutable_model() = resolve(config.model());
    return with_defaults(config);
  }

  std::filesystem::path folder_ = "memory";
  RunConfig config_;

 public:
  mutable SmallModel small;
};

}  // namespace mudelta::testing
