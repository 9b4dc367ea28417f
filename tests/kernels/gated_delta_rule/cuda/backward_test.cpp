#include <gtest/gtest.h>

#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "tests/kernels/cuda/on_device.h"
#include "tests/kernels/gated_delta_rule/cuda/device_cases.h"

namespace mudelta {
namespace {

using kernels::GatedDeltaRuleAlgorithm;
using testing::chunkwise_tolerances;
using testing::DeviceResults;
using testing::GatedDeltaRuleCase;
using testing::GatedDeltaRuleProblem;

using GatedDeltaRuleBackward = testing::GatedDeltaRuleDeviceTest;
using GatedDeltaRuleBackwardLimits = testing::DeviceTest;

TEST_P(GatedDeltaRuleBackward, MatchesOracle) {
  const GatedDeltaRuleProblem p(GetParam());
  const DeviceResults r = run_on_device(p, GatedDeltaRuleAlgorithm::kChunkwise);
  ASSERT_TRUE(r.saved.content->solve.defined()) << "not the chunkwise kernels";
  expect_oracle_gradients(p, r, chunkwise_tolerances(p.c));
}

TEST_P(GatedDeltaRuleBackward, GivesTheSameBitsOfStatesThatAreComputedAgain) {
  const GatedDeltaRuleProblem p(GetParam());
  const auto run = [&](bool keep_states) {
    return run_on_device(
        p, [keep_states](const auto& inputs, const Tensor& o, const Tensor& final_state, auto& saved, Stream stream) {
          saved.keep_states = keep_states;
          gated_delta_rule_forward(inputs, o, final_state, &saved, GatedDeltaRuleAlgorithm::kChunkwise, stream);
          EXPECT_EQ(saved.content->chunk_states.defined(), keep_states);
        });
  };
  const DeviceResults kept = run(true), again = run(false);
  EXPECT_TRUE(testing::same_bits(kept.o, again.o));
  EXPECT_TRUE(testing::same_bits(kept.final_state, again.final_state));
  expect_same_gradients(kept, again);
}

INSTANTIATE_TEST_SUITE_P(Table, GatedDeltaRuleBackward, ::testing::ValuesIn(testing::chunkwise_cases()),
                         [](const auto& param) { return param.param.name; });

TEST_F(GatedDeltaRuleBackwardLimits, ManyTinyDocuments) {
  GatedDeltaRuleCase c{.name = "", .key_dim = 32, .value_dim = 16, .dtype = DType::kBFloat16};
  for (int i = 0; i < 3000; ++i) c.lengths.push_back(i % 8 == 0 ? 1 + i / 8 % 3 : 0);
  const GatedDeltaRuleProblem p(c);
  expect_oracle_gradients(p, run_on_device(p, GatedDeltaRuleAlgorithm::kChunkwise), chunkwise_tolerances(p.c));
}

GatedDeltaRuleProblem small_problem(int key_dim = 64) {
  return GatedDeltaRuleProblem({.name = "",
                                .lengths = {70, 0, 65},
                                .heads = 1,
                                .value_heads = 2,
                                .key_dim = key_dim,
                                .value_dim = key_dim / 2,
                                .dtype = DType::kBFloat16});
}

TEST_F(GatedDeltaRuleBackwardLimits, ConstantGates) {
  GatedDeltaRuleProblem p = small_problem();
  for (const float g : {-1e-4f, -1.0f, -5.0f, -20.0f}) {
    SCOPED_TRACE(g);
    for (float& x : p.inputs.g.span<float>()) x = g;
    expect_oracle_gradients(p, run_on_device(p, GatedDeltaRuleAlgorithm::kChunkwise), chunkwise_tolerances(p.c));
  }
}

TEST_F(GatedDeltaRuleBackwardLimits, OptionalStates) {
  expect_optional_states(small_problem(), GatedDeltaRuleAlgorithm::kChunkwise);
}

void expect_same_bits_every_time(const GatedDeltaRuleProblem& p, int repeats) {
  const auto run = [&] { return run_on_device(p, GatedDeltaRuleAlgorithm::kChunkwise); };
  const DeviceResults first = run();
  for (int i = 0; i < repeats && !testing::DeviceTest::HasFailure(); ++i) {
    const DeviceResults again = testing::with_other_schedule(run);
    EXPECT_TRUE(testing::same_bits(first.o, again.o)) << "repeat " << i;
    EXPECT_TRUE(testing::same_bits(first.final_state, again.final_state)) << "repeat " << i;
    expect_same_gradients(first, again);
    EXPECT_TRUE(testing::same_bits(first.gradients.dinitial_state, again.gradients.dinitial_state)) << "repeat " << i;
  }
}

TEST_F(GatedDeltaRuleBackwardLimits, SameBitsEveryTime) {
  for (const int key_dim : {64, 256}) {  // 256: two slabs of value columns, and no second stage to load them to
    SCOPED_TRACE(key_dim);
    expect_same_bits_every_time(small_problem(key_dim), testing::kEmulated ? 1 : 100);
  }
}

TEST_F(GatedDeltaRuleBackwardLimits, SameBitsEveryTimeOfManyBlocks) {
  if (testing::kEmulated) GTEST_SKIP() << "blocks run one after another on the emulator, and take hours";
  for (const int key_dim : {64, 128, 256}) {
    SCOPED_TRACE(key_dim);
    expect_same_bits_every_time(GatedDeltaRuleProblem({.name = "",
                                                       .lengths = {2048, 1000, 0, 33, 2047},
                                                       .heads = 8,
                                                       .value_heads = 16,
                                                       .key_dim = key_dim,
                                                       .value_dim = 128,
                                                       .dtype = DType::kBFloat16}),
                                100);
  }
}

}  // namespace
}  // namespace mudelta
