#include <gtest/gtest.h>

#include <vector>

#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "tests/kernels/gated_delta_rule/cuda/device_cases.h"

namespace mudelta {
namespace {

using kernels::GatedDeltaRuleAlgorithm;
using testing::DeviceResults;
using testing::GatedDeltaRuleCase;
using testing::GatedDeltaRuleProblem;

testing::GatedDeltaRuleTolerances tolerances(const GatedDeltaRuleCase& c) {
  if (c.dtype == DType::kBFloat16) return {3e-3, 4e-3, 1e-3};  // of rounding the results
  if (c.keys != testing::KeyKind::kRandom) return {1e-4, 1e-4, 1e-4};
  return {1e-5, 1e-5, 1e-5};
}

using GatedDeltaRuleReference = testing::GatedDeltaRuleDeviceTest;
using GatedDeltaRuleReferenceLimits = testing::DeviceTest;

TEST_P(GatedDeltaRuleReference, MatchesOracle) {
  const GatedDeltaRuleProblem p(GetParam());
  const DeviceResults r = run_on_device(p, GatedDeltaRuleAlgorithm::kRecurrent);
  expect_oracle_outputs(p, r, tolerances(p.c));
  expect_oracle_gradients(p, r, tolerances(p.c));
}

INSTANTIATE_TEST_SUITE_P(Table, GatedDeltaRuleReference, ::testing::ValuesIn(testing::gated_delta_rule_cases()),
                         [](const auto& param) { return param.param.name; });

TEST_F(GatedDeltaRuleReferenceLimits, ManyTinyDocuments) {
  GatedDeltaRuleCase c{"", {}, 1, 1, 4, 4};
  for (int i = 0; i < 3000; ++i) c.lengths.push_back(i % 4);
  const GatedDeltaRuleProblem p(c);
  const DeviceResults r = run_on_device(p, GatedDeltaRuleAlgorithm::kRecurrent);
  expect_oracle_outputs(p, r, tolerances(c));
  expect_oracle_gradients(p, r, tolerances(c));
}

TEST_F(GatedDeltaRuleReferenceLimits, OptionalStates) {
  expect_optional_states(GatedDeltaRuleProblem({"", {40, 0, 3}, 1, 2, 8, 36}), GatedDeltaRuleAlgorithm::kRecurrent);
}

// Blocks of the backward pass that have several value heads to do, one after another.
TEST_F(GatedDeltaRuleReferenceLimits, MoreItemsThanBlocks) {
  const GatedDeltaRuleProblem p({"", std::vector<std::int32_t>(67, 3), 2, 4, 8, 8});
  const DeviceResults r = run_on_device(p, GatedDeltaRuleAlgorithm::kRecurrent);
  expect_oracle_gradients(p, r, tolerances(p.c));
}

}  // namespace
}  // namespace mudelta
