#include "launch/plan/plan.h"

#include <gmock/gmock.h>

#include <set>

#include "core/gemm_workspace.h"
#include "launch/config/run_config_validation.h"
#include "launch/plan/plan_text.h"
#include "tests/launch/plan/plan_case.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

PlanRequest request(int devices, double memory_bytes = 1e9) {
  return {.config = small_run(), .devices = devices, .memory_bytes = memory_bytes, .hardware = round_hardware()};
}

TEST(Plan, HasEveryFactorisationThatTrainAccepts) {
  const Plan plan = make_plan(request(8));
  std::set<std::pair<int, int>> layouts;
  for (const PlannedLayout& layout : plan.fitting) {
    EXPECT_NO_THROW(validate(layout.config, 8));
    EXPECT_LE(layout.memory.total(), 1e9);
    layouts.emplace(layout.config.parallel().tensor(), layout.config.parallel().context());
  }
  for (const int tensor : {1, 2, 4}) EXPECT_TRUE(layouts.contains({tensor, 1})) << tensor;
  EXPECT_FALSE(layouts.contains({8, 1}));  // 4 value heads
  EXPECT_THAT(plan.refusals, Not(IsEmpty()));
  EXPECT_THAT(plan.too_large, IsEmpty());
}

TEST(Plan, OffersEveryZeroStageThatTrainAccepts) {
  const auto stages = [](const PlanRequest& request) {
    std::set<int> found;
    const Plan plan = make_plan(request);
    for (const PlannedLayout& layout : plan.fitting) found.insert(layout.config.parallel().zero_stage());
    return found;
  };
  EXPECT_THAT(stages(request(2)), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(stages(request(1)), ElementsAre(1));  // nobody to share with
  PlanRequest graph = request(2);
  graph.config.mutable_train()->set_cuda_graph(true);
  EXPECT_THAT(stages(graph), ElementsAre(0, 1));
}

TEST(Plan, FastestComesFirst) {
  const Plan plan = make_plan(request(4));
  for (std::size_t i = 1; i < plan.fitting.size(); ++i) {
    EXPECT_LE(plan.fitting[i - 1].time.total(), plan.fitting[i].time.total());
  }
}

TEST(Plan, KeepsWhatTheConfigurationSets) {
  RunConfig given;
  given.mutable_parallel()->set_tensor(2);
  given.mutable_train()->set_micro_batch(2);
  given.mutable_model()->set_recompute(ModelConfig::SELECTIVE);
  PlanRequest kept = request(4);
  kept.choices = choices_left_by(given);
  kept.config.MergeFrom(given);
  const Plan plan = make_plan(kept);
  EXPECT_THAT(plan.fitting, Not(IsEmpty()));
  for (const PlannedLayout& layout : plan.fitting) {
    EXPECT_EQ(layout.config.parallel().tensor(), 2);
    EXPECT_EQ(layout.config.train().micro_batch(), 2);
    EXPECT_EQ(layout.config.model().recompute(), ModelConfig::SELECTIVE);
  }
}

TEST(Plan, TakesTheLargestMicroBatchThatFits) {
  const Plan roomy = make_plan(request(1));
  const auto micro_batch = [](const Plan& plan) { return plan.fitting.front().config.train().micro_batch(); };
  EXPECT_EQ(micro_batch(roomy), 8);
  const Plan tight = make_plan(request(1, 0.6 * roomy.fitting.front().memory.total()));
  ASSERT_THAT(tight.fitting, Not(IsEmpty()));
  for (const PlannedLayout& layout : tight.fitting) {
    if (layout.config.model().recompute() == ModelConfig::NONE) {
      EXPECT_LT(layout.config.train().micro_batch(), 8);
    }
  }
}

TEST(Plan, SaysWhatWouldFit) {
  const PlanRequest tiny = request(2, 1e5);
  const Plan plan = make_plan(tiny);
  EXPECT_THAT(plan.fitting, IsEmpty());
  for (const PlannedLayout& layout : plan.too_large) EXPECT_EQ(layout.config.train().micro_batch(), 1);
  EXPECT_THAT(describe(plan, tiny, 20), AllOf(HasSubstr("no layout fits"), HasSubstr("devices with ")));
  const PlanRequest odd = request(3);  // 8 sequences, 128 tokens, 4 value heads
  EXPECT_THAT(describe(make_plan(odd), odd, 20), AllOf(HasSubstr("accepts no layout of 3"), HasSubstr("expected")));
}

TEST(Plan, RecommendsWithReasons) {
  const PlanRequest four = request(4);
  const std::string text = describe(make_plan(four), four, 3);
  EXPECT_THAT(text, AllOf(HasSubstr("recommended: "), HasSubstr("--set parallel.tensor="), HasSubstr("(--top 0)"),
                          HasSubstr("twice as many tensor ranks")));
}

// Kernels there keep states in bfloat16; the program need not be built for GPUs.
TEST(Plan, CountsTheMemoryOfAGpuWithoutOne) {
  PlanRequest cpu = request(1);
  cpu.config.mutable_model()->set_head_dim(64);
  *cpu.config.mutable_model() = resolve(cpu.config.model());
  cpu.config.mutable_train()->set_compute_dtype(TrainConfig::BFLOAT16);
  cpu.choices.recompute = false;
  PlanRequest gpu = cpu;
  gpu.hardware.set_gpu(true);
  const double on_cpu = make_plan(cpu).fitting.front().memory.activations;
  const double on_gpu = make_plan(gpu).fitting.front().memory.activations - gpu::kCublasWorkspaceBytes;
  EXPECT_GT(on_gpu, 0.2 * on_cpu);
  EXPECT_LT(on_gpu, on_cpu);
}

TEST(Plan, AThousandDevicesTakeNoTime) {
  PlanRequest large = request(1024, 1e12);
  large.config.mutable_train()->set_global_batch(1024);
  large.config.mutable_train()->set_sequence_length(4096);
  EXPECT_THAT(make_plan(large).fitting, Not(IsEmpty()));
}

}  // namespace
}  // namespace mudelta::testing
