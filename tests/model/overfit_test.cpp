// The model and the optimizer together learn a batch by heart.

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "dist/parameter_shards.h"
#include "kernels/reduce.h"
#include "optim/optimizer.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

double mean_loss_after_training(DType dtype, int steps) {
  ModelConfig config = small_config();
  config.set_width(32);
  config.set_head_dim(12);
  config.set_expand_v(1.5);
  config.set_vocab_size(40);
  SmallModel small(config, dtype);
  const SmallBatch batch = make_batch(std::vector<std::int64_t>{40, 25, 1}, small.config.vocab_size());
  const auto targets = batch.targets.span<std::int32_t>();
  const auto num_targets = std::ranges::count_if(targets, [](std::int32_t target) { return target >= 0; });

  OptimizerConfig adamw;
  adamw.mutable_adamw()->set_weight_decay(0);
  ParameterShards shards(small.store, ProcessGroup::single(), 1 << 20);
  Optimizer optimizer(adamw, small.store, shards, std::vector<ParameterScaling>(small.store.parameters().size()),
                      ProcessGroup::single());
  for (int step = 0; step < steps; ++step) {
    small.store.zero_gradients();
    small.model.losses_and_gradients(batch.input, batch.targets, 1.0 / static_cast<double>(num_targets), Stream{});
    shards.finish_gradients(Stream{});
    EXPECT_FALSE(optimizer.step(0.01, 1.0, Stream{}).skipped);
  }
  const Tensor losses = small.model.losses(batch.input, batch.targets, Stream{});
  return kernels::sum(losses, Stream{}) / static_cast<double>(num_targets);
}

TEST(Overfit, Float32) {
  EXPECT_GT(mean_loss_after_training(DType::kFloat32, 0), 3);
  EXPECT_LT(mean_loss_after_training(DType::kFloat32, 200), 0.01);
}

TEST(Overfit, BFloat16) { EXPECT_LT(mean_loss_after_training(DType::kBFloat16, 200), 0.01); }

}  // namespace
}  // namespace mudelta::testing
