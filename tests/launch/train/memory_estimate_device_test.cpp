// The estimate of memory on a GPU; memory_test.cpp has the CPU.

#include "tests/launch/train/memory_estimate_cases.h"
#include "tests/support/device.h"

namespace mudelta::testing {
namespace {

constexpr std::int64_t kLength = 96;  // few tokens, for the emulator's sake

class MemoryEstimateOnADevice : public DeviceTest {};

TEST_F(MemoryEstimateOnADevice, IsWithinATenthOfAStep) {
  for (const auto recompute : kPolicies) {
    expect_close(run_config(recompute, TrainConfig::FLOAT32, false, kLength), device(), 0.1);
    expect_close(run_config(recompute, TrainConfig::BFLOAT16, true, kLength), device(), 0.1);
  }
}

TEST_F(MemoryEstimateOnADevice, OfAGraphIsItsPool) {
  for (const auto recompute : {ModelConfig::SELECTIVE, ModelConfig::FULL}) {
    RunConfig config = run_config(recompute, TrainConfig::BFLOAT16, false, kLength);
    config.mutable_train()->set_cuda_graph(true);
    expect_close(config, device(), 0.1);
  }
}

}  // namespace
}  // namespace mudelta::testing
