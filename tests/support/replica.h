#pragma once

#include <string>
#include <vector>

#include "dist/parameter_shards.h"
#include "optim/optimizer.h"
#include "tests/support/random.h"

namespace mudelta::testing {

// One rank's parameters, of odd sizes, in three units and with values of its own choice, and what trains them.
struct Replica {
  Replica(const OptimizerConfig& config, DType dtype, ProcessGroup data, std::int64_t bucket_bytes, int stage = 1)
      : group(data),
        zero_stage(stage),
        store(initialized({{.name = "embedding", .unit = 0, .role = Role::kEmbedding, .shape = {67, 13}},
                           {.name = "gain", .unit = 1, .role = Role::kNorm, .shape = {13}, .keep_float32 = true},
                           {.name = "empty", .unit = 1, .shape = {0, 5}, .fan_in = 5},
                           {.name = "one", .unit = 1, .shape = {1, 1}, .fan_in = 1, .fan_out = 1},
                           {.name = "matrix", .unit = 2, .shape = {31, 33}, .fan_in = 33, .fan_out = 31},
                           {.name = "bias", .unit = 2, .role = Role::kNorm, .shape = {33}, .keep_float32 = true}},
                          dtype, data.size(), stage)),
        shards(store, data, bucket_bytes, ProcessGroup::single(), stage),
        optimizer(config, store, shards, scaling(), data) {
    if (store.whole().values) return;
    for (const OptimizerSegment& segment : optimizer.segments()) {
      const Parameter& parameter = store.parameters()[segment.parameter];
      segment.state[0].second.copy_from(
          initial_value_of(parameter).flat_view(segment.begin, {segment.numel}).to(DType::kFloat32));
    }
    optimizer.state_loaded(0, Stream());
  }

  // Different for every parameter.
  static std::vector<ParameterScaling> scaling() {
    return {{.lr = 1, .eps = 1, .decay = 0},
            {.lr = 2, .eps = 1, .decay = 0},
            {},
            {.lr = 0.5, .eps = 0.25, .decay = 1, .clip = 3},
            {.lr = 0.25, .eps = 0.5, .decay = 0.25, .clip = 0.25},
            {.lr = 4, .eps = 2, .decay = 0.5, .clip = 7}};
  }

  static Tensor initial_value_of(const Parameter& parameter) {
    return random_normal(parameter.local_shape(), parameter.spec.name, 1, 0, 1, parameter.dtype);
  }

  static ParameterStore initialized(std::vector<ParameterSpec> specs, DType dtype, int num_shards, int stage) {
    ParameterStore store(std::move(specs), dtype, {}, num_shards, {}, whole_buffers(stage));
    for (const Parameter& parameter : store.parameters()) {
      if (parameter.value) parameter.value.copy_from(initial_value_of(parameter));
    }
    return store;
  }

  // The gradient that rank `rank` contributes in step `step`.
  static Tensor local_gradient(const Parameter& parameter, int rank, int step) {
    return random_normal(parameter.local_shape(), parameter.spec.name, 1, 0.1,
                         static_cast<std::uint64_t>(100 * step + rank));
  }

  // As a backward pass does.
  void set_gradients(int step) {
    shards.zero_gradients();
    for (int unit = 2; unit >= 0; --unit) {
      shards.open_gradients(unit, Stream());
      for (const Parameter& parameter : store.parameters()) {
        if (parameter.spec.unit == unit) parameter.gradient.copy_from(local_gradient(parameter, group.rank(), step));
      }
      if (zero_stage >= 2) shards.gradients_final(unit, Stream());
    }
  }

  // Whole ones, whatever the stage. Collective.
  std::span<const Parameter> parameters_with_values() {
    shards.read_units(std::vector<int>{0, 1, 2}, {}, Stream());
    return store.parameters();
  }

  StepReport step(double lr, double grad_clip) {
    shards.finish_gradients(Stream());
    return optimizer.step(lr, grad_clip, Stream());
  }

  // Every byte that an update may change: values, then state. Collective.
  std::string bytes() {
    std::string all;
    const auto append = [&](const Tensor& tensor) {
      all.append(reinterpret_cast<const char*>(tensor.raw()), static_cast<std::size_t>(tensor.num_bytes()));
    };
    for (const Parameter& parameter : parameters_with_values()) append(parameter.value);
    for (const OptimizerSegment& segment : optimizer.segments()) {
      for (const auto& [name, tensor] : segment.state) append(tensor);
    }
    return all;
  }

  ProcessGroup group;
  int zero_stage;
  ParameterStore store;
  ParameterShards shards;
  Optimizer optimizer;
};

}  // namespace mudelta::testing
