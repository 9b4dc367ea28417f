#include <gtest/gtest.h>

#include "tests/kernels/gated_delta_rule/cuda/device_cases.h"

// The chunkwise kernels against the reference kernels, both on the device, at the shapes whose times are measured: too
// large for the float64 oracle, against which the reference kernels are tested at others.
namespace mudelta::testing {
namespace {

using kernels::GatedDeltaRuleAlgorithm;

struct TimedShape {
  GatedDeltaRuleCase c;
  bool has_segments, runs_on_emulator;
};

std::ostream& operator<<(std::ostream& out, const TimedShape& shape) { return out << shape.c.name; }

std::vector<TimedShape> timed_shapes() {
  const auto shape = [](std::string name, int sequences, int length, int heads, int value_heads, int key_dim,
                        int value_dim) {
    return GatedDeltaRuleCase{.name = std::move(name),
                              .lengths = std::vector<std::int32_t>(sequences, length),
                              .heads = heads,
                              .value_heads = value_heads,
                              .key_dim = key_dim,
                              .value_dim = value_dim,
                              .gates = GateKind::kWeak,
                              .dtype = DType::kBFloat16};
  };
  return {{shape("Dense", 8, 2048, 16, 16, 128, 128), false, false},
          {shape("OneSequence", 1, 32768, 16, 32, 128, 128), true, false},
          {shape("FewHeads", 1, 32768, 2, 8, 128, 128), true, false},
          {shape("WideHeads", 8, 2048, 8, 8, 256, 256), false, false},
          {shape("Documents", 2050, 16, 16, 16, 128, 128), false, false},
          {shape("ManyBlocks", 4200, 16, 16, 16, 32, 32), false, false},  // 84,000 of prepare and chunk_gradients
          {shape("SmallDense", 2, 130, 1, 2, 64, 64), false, true},
          {shape("SmallOneSequence", 1, 2050, 1, 1, 32, 16), true, true},
          {shape("SmallDocuments", 41, 16, 2, 2, 32, 32), false, true}};
}

class GatedDeltaRuleTimedShapes : public DeviceTest, public ::testing::WithParamInterface<TimedShape> {};

TEST_P(GatedDeltaRuleTimedShapes, MatchReferenceKernels) {
  const auto& [c, has_segments, runs_on_emulator] = GetParam();
  if (kEmulated && !runs_on_emulator) {
    GTEST_SKIP() << c.tokens() << " tokens of " << c.value_heads << " heads take the emulator hours";
  }
  const GatedDeltaRuleProblem p(c);
  const DeviceResults expected = run_on_device(p, GatedDeltaRuleAlgorithm::kRecurrent);
  const DeviceResults r = run_on_device(p, GatedDeltaRuleAlgorithm::kChunkwise);
  ASSERT_TRUE(r.saved.content->solve.defined()) << "not the chunkwise kernels";
  EXPECT_EQ(r.saved.content->segment_chunks > 0, has_segments);
  const GatedDeltaRuleTolerances limits = chunkwise_tolerances(c);
  const auto &g = r.gradients, &e = expected.gradients;
  EXPECT_TRUE(close(r.o, expected.o, limits.output)) << "o";
  EXPECT_TRUE(close(r.final_state, expected.final_state, limits.output)) << "final_state";
  EXPECT_TRUE(close(g.dq, e.dq, limits.gradient)) << "dq";
  EXPECT_TRUE(close(g.dk, e.dk, limits.gradient)) << "dk";
  EXPECT_TRUE(close(g.dv, e.dv, limits.gradient)) << "dv";
  EXPECT_TRUE(close(g.dg, e.dg, limits.gate_gradient)) << "dg";
  EXPECT_TRUE(close(g.dbeta, e.dbeta, limits.gate_gradient)) << "dbeta";
  EXPECT_TRUE(close(g.dinitial_state, e.dinitial_state, limits.gradient)) << "dinitial_state";
}

INSTANTIATE_TEST_SUITE_P(Table, GatedDeltaRuleTimedShapes, ::testing::ValuesIn(timed_shapes()),
                         [](const auto& param) { return param.param.c.name; });

}  // namespace
}  // namespace mudelta::testing
