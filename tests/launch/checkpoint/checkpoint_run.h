#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint_load.h"
#include "launch/checkpoint/checkpoint_save.h"
#include "optim/optimizer_kind.h"
#include "tests/support/compare.h"

namespace mudelta::testing {

struct CheckpointRunOptions {
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  DType compute_dtype = DType::kFloat32;
  std::int64_t bucket_bytes = 1 << 20;
  int keep = 0;
  std::vector<Shape> shapes = {{7, 5}, {16, 12}, {3}, {1}, {2, 3, 31}};
  std::vector<ParameterPart> parts = {};  // of the shapes, that this rank holds; none: all of each
};

// What a trainer saves and loads, with no model behind it: parameters "layers.I.weight" of the given shapes (the third
// one always float32), the optimizer over them, and state that is a function of a salt and the global element index.
class CheckpointRun {
 public:
  explicit CheckpointRun(const CheckpointRunOptions& options = {}, const ProcessGroup& all = ProcessGroup::single())
      : CheckpointRun(options, all, all) {}

  // `data`: the ranks that hold the same parts; `all`: those that together hold the model.
  CheckpointRun(const CheckpointRunOptions& options, ProcessGroup data, ProcessGroup all)
      : group(std::move(all)),
        config(make_config(options)),
        store(make_specs(options), options.compute_dtype, Device{}, data.size(), options.parts),
        shards(store, data, options.bucket_bytes),
        scaling(make_scaling(options)),
        optimizer(config.optimizer(), store, shards, scaling, group) {
    fill(0);
  }

  static float expected(const std::string& parameter, const std::string& state, std::uint64_t salt,
                        std::int64_t index) {
    const std::uint64_t name = 131 * static_cast<std::uint64_t>(parameter[7]) + 17 * state.size();
    return static_cast<float>((static_cast<std::uint64_t>(index) * 2654435761u + 977 * salt + name) % 1000003u) -
           500000;
  }

  // Sets weights and optimizer state; `salt` also becomes the number of updates. Collective.
  void fill(std::uint64_t salt) {
    for (OptimizerSegment& segment : optimizer.segments()) {
      const SliceMap map = store.parameters()[segment.parameter].slice_map();
      for (auto& [state, tensor] : segment.state) {
        auto values = tensor.span<float>();
        for (std::size_t i = 0; i < values.size(); ++i) {
          values[i] = expected(name_of(segment), state, salt, map.whole_index(segment.begin + std::int64_t(i)));
        }
      }
    }
    optimizer.state_loaded(static_cast<std::int64_t>(salt), Stream());
  }

  // This rank's state, and the values of all parameters, are those of `salt`, bit for bit.
  ::testing::AssertionResult holds(std::uint64_t salt) {
    if (optimizer.num_updates() != static_cast<std::int64_t>(salt)) {
      return ::testing::AssertionFailure() << optimizer.num_updates() << " updates, expected " << salt;
    }
    for (const OptimizerSegment& segment : optimizer.segments()) {
      for (const auto& [state, tensor] : segment.state) {
        const Tensor right =
            expected_tensor(store.parameters()[segment.parameter], state, salt, segment.begin, {segment.numel});
        if (auto same = same_bits(tensor.view({segment.numel}), right); !same) {
          return same << " of " << name_of(segment) << " " << state;
        }
      }
    }
    return values_are(salt);
  }

  ::testing::AssertionResult values_are(std::uint64_t salt) {
    for (const Parameter& parameter : store.parameters()) {
      const Tensor right = expected_tensor(parameter, "weight", salt, 0, parameter.value.shape());
      if (auto same = same_bits(parameter.value, right.to(parameter.value.dtype())); !same) {
        return same << " of the value of " << parameter.spec.name;
      }
    }
    return ::testing::AssertionSuccess();
  }

  CheckpointContext context() { return {config, store, scaling, forward_multipliers, &data_set}; }

  // Fills with `step` as salt and saves. Collective.
  void save(const std::filesystem::path& run_dir, std::int64_t step, std::int64_t skipped_in_a_row = 0) {
    fill(static_cast<std::uint64_t>(step));
    save_checkpoint(run_dir, context(), state_of(step, skipped_in_a_row), optimizer, group);
  }

  TrainingState load(const std::filesystem::path& checkpoint) {
    return load_checkpoint(CheckpointReader(checkpoint), context(), optimizer, group, Stream());
  }

  static TrainingState state_of(std::int64_t step, std::int64_t skipped_in_a_row = 0) {
    TrainingState state;
    state.set_step(step);
    state.set_tokens(1000 * step);
    state.set_skipped_in_a_row(skipped_in_a_row);
    return state;
  }

  ProcessGroup group;
  RunConfig config;
  ParameterStore store;
  ParameterShards shards;
  std::vector<ParameterScaling> scaling;
  ForwardMultipliers forward_multipliers{.logits = 1.0 / 3};
  DatasetInfo data_set{.train = {{"a.bin", 100, "0123456789abcdef"}, {"b.bin", 50, "fedcba9876543210"}},
                       .validation = {{"c.bin", 10, "00112233445566ff"}}};
  Optimizer optimizer;

 private:
  static RunConfig make_config(const CheckpointRunOptions& options) {
    RunConfig config;
    if (options.optimizer == OptimizerKind::kAdamW) {
      config.mutable_optimizer()->mutable_adamw();
    } else {
      config.mutable_optimizer()->mutable_sgd();
    }
    config.mutable_model()->set_width(64);
    config.mutable_checkpoint()->set_keep(options.keep);
    return config;
  }

  static std::vector<ParameterSpec> make_specs(const CheckpointRunOptions& options) {
    std::vector<ParameterSpec> specs;
    for (std::size_t i = 0; i < options.shapes.size(); ++i) {
      specs.push_back({.name = fmt::format("layers.{}.weight", i), .shape = options.shapes[i], .keep_float32 = i == 2});
    }
    return specs;
  }

  static std::vector<ParameterScaling> make_scaling(const CheckpointRunOptions& options) {
    std::vector<ParameterScaling> scaling;
    for (std::size_t i = 0; i < options.shapes.size(); ++i) {
      const double x = static_cast<double>(i) + 1;
      scaling.push_back({.init = 1 / (3 * x), .lr = 0.1 * x, .eps = 1e-9 * x, .decay = x});
    }
    return scaling;
  }

  static Tensor expected_tensor(const Parameter& parameter, const std::string& state, std::uint64_t salt,
                                std::int64_t begin, const Shape& shape) {
    const SliceMap map = parameter.slice_map();
    const Tensor tensor = Tensor::empty(shape);
    auto values = tensor.span<float>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = expected(parameter.spec.name, state, salt, map.whole_index(begin + std::int64_t(i)));
    }
    return tensor;
  }

  const std::string& name_of(const OptimizerSegment& segment) {
    return store.parameters()[segment.parameter].spec.name;
  }
};

}  // namespace mudelta::testing
