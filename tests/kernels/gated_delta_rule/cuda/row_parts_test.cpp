#include "kernels/gated_delta_rule/row_parts.h"

#include <gtest/gtest.h>

#include "tests/kernels/gated_delta_rule/cuda/device_cases.h"
#include "tests/kernels/gated_delta_rule/row_parts_cases.h"
#include "tests/support/random.h"

namespace mudelta {
namespace {

using testing::close;
using testing::device;
using testing::GatedDeltaRuleCase;
using testing::GatedDeltaRuleProblem;

using RowPartsOnDevice = testing::GatedDeltaRuleDeviceTest;
using RowPartsDeviceLimits = testing::DeviceTest;

TEST_P(RowPartsOnDevice, MatchOracle) {
  const GatedDeltaRuleProblem p(GetParam());
  const bool is_hard = p.c.keys != testing::KeyKind::kRandom || p.c.beta > 1;
  const double tolerance = p.c.dtype == DType::kFloat32 ? 1e-4 : is_hard ? 1.6e-2 : 8e-3;
  // What products of many transitions shrink to keeps the rounding of the first ones.
  const double of_transitions = p.c.dtype == DType::kFloat32 ? 1e-4 : 3e-2;
  for (const Tensor& edges : testing::part_edges(p.c)) {
    expect_oracle_parts(p, edges, run_parts(p, edges, device()), tolerance, of_transitions);
  }
}

// Shapes of the reference kernels and of the chunkwise ones, which cut the longest into segments.
std::vector<GatedDeltaRuleCase> cases() {
  using testing::GateKind, testing::KeyKind;
  constexpr DType kBFloat16 = DType::kBFloat16;
  return {{"Reference", {63, 0, 1, 64, 2, 65, 129}, 2, 4, 16, 32},
          {"ReferenceOdd", {65, 0, 5}, 1, 1, 36, 5},
          {"ReferenceBFloat16", {65, 7}, 1, 2, 36, 60, GateKind::kWeak, KeyKind::kRandom, 1.0, kBFloat16},
          {"OneToken", {1}, 1, 1, 32, 32, GateKind::kTypical, KeyKind::kRandom, -1, kBFloat16},
          {"AllLengths", {63, 0, 1, 64, 2, 65, 129}, 1, 2, 32, 32, GateKind::kTypical, KeyKind::kRandom, -1, kBFloat16},
          {"NoGate", {129, 40}, 1, 1, 32, 48, GateKind::kNone, KeyKind::kRandom, 1, kBFloat16},
          {"Beta1_9", {129, 40}, 1, 1, 32, 32, GateKind::kNone, KeyKind::kRandom, 1.9, kBFloat16},
          {"StrongGate", {129, 40}, 1, 1, 32, 32, GateKind::kStrong, KeyKind::kRandom, 1, kBFloat16},
          {"OneWipe", {129, 40}, 1, 1, 64, 32, GateKind::kOneWipe, KeyKind::kRandom, 1, kBFloat16},
          {"WideKeys", {130}, 1, 1, 128, 80, GateKind::kWeak, KeyKind::kRandom, -1, kBFloat16},
          {"Segments", {4096}, 1, 1, 32, 16, GateKind::kWeak, KeyKind::kRandom, -1, kBFloat16}};
}
INSTANTIATE_TEST_SUITE_P(Table, RowPartsOnDevice, ::testing::ValuesIn(cases()),
                         [](const auto& param) { return param.param.name; });

TEST_F(RowPartsDeviceLimits, StatesAreCarriedAsOnTheHost) {
  for (const auto& [key_dim, value_dim] : {std::pair{1, 1}, {20, 36}, {128, 16}, {70, 130}}) {
    const Shape square{2, 3, key_dim, key_dim}, state{2, 3, key_dim, value_dim};
    const Tensor m = testing::random_normal(square, "m"), from = testing::random_normal(state, "from");
    for (const bool transposed : {false, true}) {
      const Tensor expected = testing::random_normal(state, "to"), to = expected.to(device());
      kernels::add_carried_states(m, transposed, from, expected, Stream());
      kernels::add_carried_states(m.to(device()), transposed, from.to(device()), to, Stream(device()));
      EXPECT_TRUE(close(to.to(Device()), expected, 1e-5)) << key_dim << " x " << value_dim;
    }
  }
}

}  // namespace
}  // namespace mudelta
