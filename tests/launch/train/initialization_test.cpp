#include "optim/initialization.h"

#include <gtest/gtest.h>

#include "launch/train/scaling.h"
#include "launch/train/stored_model.h"
#include "model/config.h"
#include "tests/support/compare.h"

namespace mudelta::testing {
namespace {

// A run before its first step, at twice the base width.
struct FreshRun {
  explicit FreshRun(TrainConfig::ComputeDtype dtype)
      : config(make_config(dtype)),
        parametrization(make_parametrization(config)),
        stored(config, parametrization.forward_multipliers()),
        shards(stored.store, ProcessGroup::single(), 1 << 12),
        optimizer(config.optimizer(), stored.store, shards, parametrization.scaling(), ProcessGroup::single()) {
    initialize(stored.store, optimizer, parametrization, 7, Stream());
  }

  static RunConfig make_config(TrainConfig::ComputeDtype dtype) {
    RunConfig config;
    ModelConfig& model = *config.mutable_model();
    model.set_width(32);
    model.set_layers(2);
    model.set_heads(2);
    model.set_vocab_size(50);
    model = resolve(model);
    config.mutable_parametrization()->set_base_width(16);
    config.mutable_train()->set_compute_dtype(dtype);
    return config;
  }

  RunConfig config;
  Parametrization parametrization;
  StoredModel stored;
  ParameterShards shards;
  Optimizer optimizer;
};

// Of a parameter whose segments the optimizer holds.
Tensor master_of(FreshRun& run, std::size_t parameter) {
  const Tensor whole = Tensor::zeros({run.stored.store.parameters()[parameter].value.numel()});
  for (const OptimizerSegment& segment : run.optimizer.segments()) {
    if (segment.parameter != parameter) continue;
    whole.flat_view(segment.begin, {segment.numel}).copy_from(segment.state[0].second.view({segment.numel}));
  }
  return whole;
}

TEST(Initialization, MastersAreTheSameInEveryComputeDtype) {
  FreshRun exact(TrainConfig::FLOAT32), rounded(TrainConfig::BFLOAT16);
  for (std::size_t i = 0; i < exact.stored.store.parameters().size(); ++i) {
    const Parameter& parameter = exact.stored.store.parameters()[i];
    const Tensor& value = rounded.stored.store.parameters()[i].value;
    const Tensor master = master_of(rounded, i);
    EXPECT_TRUE(same_bits(master, parameter.value.view(master.shape()))) << parameter.spec.name;
    EXPECT_TRUE(same_bits(value, master.view(value.shape()).to(value.dtype()))) << parameter.spec.name;
  }
}

}  // namespace
}  // namespace mudelta::testing
