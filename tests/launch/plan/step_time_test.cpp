#include "launch/plan/step_time.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "launch/plan/local_shape.h"
#include "tests/launch/plan/plan_case.h"

namespace mudelta::testing {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

RunConfig with(int tensor, int zero_stage = 1) {
  RunConfig config = small_run();
  config.mutable_parallel()->set_tensor(tensor);
  config.mutable_parallel()->set_zero_stage(zero_stage);
  return config;
}

TEST(StepTime, AloneNothingIsCommunicated) {
  const StepTime time = estimate_step_time(small_run(), 1, round_hardware());
  EXPECT_GT(time.compute, 0);
  EXPECT_GT(time.update, 0);
  EXPECT_EQ(time.communication, 0);
  EXPECT_EQ(time.total(), time.compute + time.update);
}

TEST(StepTime, IsSharedOutOverRanks) {
  const Hardware hardware = round_hardware();
  const double alone = estimate_step_time(small_run(), 1, hardware).compute;
  // All but the accumulation of weight gradients, which each rank has of all of them.
  const double accumulation = num_parameters(small_run().model(), 1) * 8 / memory_rate(hardware);
  EXPECT_THAT(estimate_step_time(with(1), 4, hardware).compute,
              DoubleNear((alone - accumulation) / 4 + accumulation, 1e-12));
  EXPECT_GT(estimate_step_time(with(2), 2, hardware).compute, 0.5 * alone);  // norms see all rows
  EXPECT_LT(estimate_step_time(with(2), 2, hardware).compute, 0.7 * alone);
}

TEST(StepTime, OfCollectivesIsLatencyAndBytes) {
  const double bytes = num_parameters(small_run().model(), 1) * 4;
  // Two ranks of a node: half of the bytes there, half back, at 1 GB/s.
  EXPECT_THAT(estimate_step_time(with(1), 2, round_hardware()).communication, DoubleNear(2 * 1e-5 + bytes / 1e9, 1e-9));
  // Four ranks on two nodes: three quarters, by two links of 0.1 GB/s.
  EXPECT_THAT(estimate_step_time(with(1), 4, round_hardware()).communication,
              DoubleNear(2 * (1e-5 + 1e-4) + 2 * 0.75 * bytes / 0.2e9, 1e-9));
}

// Groups of ranks that are two apart have one rank on a node of two.
TEST(StepTime, DistantRanksCrossNodesByOneLink) {
  Hardware hardware = round_hardware();
  hardware.clear_within_node();
  EXPECT_THAT([&] { estimate_step_time(with(2), 4, hardware); },
              ThrowsMessage<Error>(HasSubstr("no within_node: needed for 2 tensor ranks, 2 of them on a node")));
  hardware = round_hardware();
  hardware.clear_between_nodes();
  EXPECT_THAT([&] { estimate_step_time(with(2), 4, hardware); },
              ThrowsMessage<Error>(HasSubstr("no between_nodes: needed for 2 data x context ranks, 1 of them")));
}

TEST(StepTime, OnAGpuReductionsHideBehindTheBackwardPass) {
  Hardware hardware = round_hardware();
  const StepTime cpu = estimate_step_time(with(1), 2, hardware);
  EXPECT_EQ(cpu.exposed, cpu.communication);
  hardware.set_gpu(true);
  const StepTime gpu = estimate_step_time(with(1), 2, hardware);
  EXPECT_EQ(gpu.communication, cpu.communication);
  EXPECT_LT(gpu.exposed, cpu.exposed);
  EXPECT_GE(gpu.exposed, cpu.communication / 5);  // the last of 5 units
  // What tensor ranks exchange is waited for, but for a few gradients.
  const StepTime tensor = estimate_step_time(with(2), 2, hardware);
  EXPECT_LT(tensor.exposed, tensor.communication);
  EXPECT_GT(tensor.exposed, 0.99 * tensor.communication);
}

TEST(StepTime, RecomputationCosts) {
  RunConfig config = small_run();
  const auto computing = [&](ModelConfig::Recompute recompute) {
    config.mutable_model()->set_recompute(recompute);
    return estimate_step_time(config, 1, round_hardware()).compute;
  };
  EXPECT_LT(computing(ModelConfig::NONE), computing(ModelConfig::SELECTIVE));
  EXPECT_LT(computing(ModelConfig::SELECTIVE), computing(ModelConfig::FULL));
}

}  // namespace
}  // namespace mudelta::testing
