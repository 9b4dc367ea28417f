#pragma once

#include <string>
#include <vector>

#include "dist/parameter_shards.h"
#include "optim/optimizer.h"
#include "tests/support/random.h"

namespace mudelta::testing {

// One rank's parameters, of odd sizes and with values of its own choice, and what trains them.
struct Replica {
  Replica(const OptimizerConfig& config, DType dtype, ProcessGroup data, std::int64_t bucket_bytes)
      : group(data),
        store(initialized({{.name = "embedding", .shape = {67, 13}},
                           {.name = "gain", .shape = {13}, .keep_float32 = true},
                           {.name = "empty", .shape = {0, 5}},
                           {.name = "one", .shape = {1}},
                           {.name = "matrix", .shape = {31, 33}},
                           {.name = "bias", .shape = {33}, .keep_float32 = true}},
                          dtype, data.size())),
        shards(store, data, bucket_bytes),
        optimizer(config, store, shards, scaling(), data) {}

  // Different for every parameter.
  static std::vector<ParameterScaling> scaling() {
    return {{.lr = 1, .eps = 1, .decay = 0},
            {.lr = 2, .eps = 1, .decay = 0},
            {},
            {.lr = 0.5, .eps = 0.25, .decay = 1, .clip = 3},
            {.lr = 0.25, .eps = 0.5, .decay = 0.25, .clip = 0.25},
            {.lr = 4, .eps = 2, .decay = 0.5, .clip = 7}};
  }

  static ParameterStore initialized(std::vector<ParameterSpec> specs, DType dtype, int num_shards) {
    ParameterStore store(std::move(specs), dtype, {}, num_shards);
    for (const Parameter& parameter : store.parameters()) {
      parameter.value.copy_from(
          random_normal(parameter.value.shape(), parameter.spec.name, 1, 0, 1, parameter.value.dtype()));
    }
    return store;
  }

  // The gradient that rank `rank` contributes in step `step`.
  static Tensor local_gradient(const Parameter& parameter, int rank, int step) {
    return random_normal(parameter.value.shape(), parameter.spec.name, 1, 0.1,
                         static_cast<std::uint64_t>(100 * step + rank));
  }

  void set_gradients(int step) {
    for (const Parameter& parameter : store.parameters()) {
      parameter.gradient.copy_from(local_gradient(parameter, group.rank(), step));
    }
  }

  StepReport step(double lr, double grad_clip) {
    shards.reduce_scatter_gradients(Stream());
    return optimizer.step(lr, grad_clip, Stream());
  }

  // Every byte that an update may change: values, then state.
  std::string bytes() {
    std::string all;
    const auto append = [&](const Tensor& tensor) {
      all.append(reinterpret_cast<const char*>(tensor.raw()), static_cast<std::size_t>(tensor.num_bytes()));
    };
    for (const FlatGroup& flat : store.groups()) append(flat.values);
    for (const OptimizerSegment& segment : optimizer.segments()) {
      for (const auto& [name, tensor] : segment.state) append(tensor);
    }
    return all;
  }

  ProcessGroup group;
  ParameterStore store;
  ParameterShards shards;
  Optimizer optimizer;
};

}  // namespace mudelta::testing
