#include "kernels/gated_delta_rule/row_parts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include "tests/kernels/gated_delta_rule/row_parts_cases.h"
#include "tests/support/errors.h"
#include "tests/support/random.h"

namespace mudelta {
namespace {

using kernels::GatedDeltaRuleAlgorithm;
using kernels::GatedDeltaRuleGradients;
using kernels::GatedDeltaRuleInputs;
using kernels::GatedDeltaRuleSaved;
using testing::close;
using testing::GatedDeltaRuleCase;
using testing::GatedDeltaRuleProblem;
using testing::PartStates;
using testing::same_bits;

class RowPartCases : public ::testing::TestWithParam<GatedDeltaRuleCase> {};

TEST_P(RowPartCases, MatchOracle) {
  const GatedDeltaRuleProblem p(GetParam());
  const double tolerance = p.c.keys == testing::KeyKind::kRandom ? 2e-6 : 2e-5;
  for (const Tensor& edges : testing::part_edges(p.c)) {
    expect_oracle_parts(p, edges, run_parts(p, edges, Device()), tolerance, tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Table, RowPartCases, ::testing::ValuesIn(testing::gated_delta_rule_cases()),
                         [](const auto& param) { return param.param.name; });

TEST(RowParts, BitsDoNotDependOnThreads) {
  const GatedDeltaRuleProblem p({"", {70, 0, 65}, 2, 4, 20, 36});
  const Tensor edges = testing::part_edges(p.c).front();
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const PartStates alone = run_parts(p, edges, Device());
  omp_set_num_threads(7);
  const PartStates several = run_parts(p, edges, Device());
  omp_set_num_threads(threads);
  EXPECT_TRUE(same_bits(several.states, alone.states));
  EXPECT_TRUE(same_bits(several.transitions, alone.transitions));
  EXPECT_TRUE(same_bits(several.dstates, alone.dstates));
}

// A document over several parts, one after the other: states and gradients of the whole one.
TEST(RowParts, AreTheWholeOneAfterTheOther) {
  constexpr std::int64_t kLength = 45, kRanks = 4, kHeads = 2, kKeyDim = 20, kValueDim = 12;
  const GatedDeltaRuleProblem p({"", {kLength * kRanks}, 1, kHeads, kKeyDim, kValueDim, testing::GateKind::kWeak});
  const Shape state{1, kHeads, kKeyDim, kValueDim}, square{1, kHeads, kKeyDim, kKeyDim};
  const auto like = [](const Tensor& x) { return Tensor::empty(x.shape(), x.dtype()); };
  const auto part_of = [&](const Tensor& x, std::int64_t rank) {
    return x.slice(rank * kLength, (rank + 1) * kLength);
  };
  const std::int32_t ends[] = {0, kLength};
  const auto inputs_of = [&](std::int64_t rank) {
    GatedDeltaRuleInputs inputs = p.inputs;
    for (Tensor* x : {&inputs.q, &inputs.k, &inputs.v, &inputs.g, &inputs.beta}) *x = part_of(*x, rank);
    inputs.cu_seqlens = Tensor::from(ends, {2});
    inputs.initial_state = {};
    return inputs;
  };

  GatedDeltaRuleInputs whole = p.inputs;
  whole.initial_state = {};
  const Tensor o = like(p.inputs.v);
  GatedDeltaRuleSaved saved;
  gated_delta_rule_forward(whole, o, {}, &saved, GatedDeltaRuleAlgorithm::kAuto, Stream());
  const GatedDeltaRuleGradients expected{like(whole.q), like(whole.k),    like(whole.v),
                                         like(whole.g), like(whole.beta), {}};
  gated_delta_rule_backward(whole, saved, p.d_o, {}, expected, Stream());

  std::vector<Tensor> transitions, coming_in;
  std::vector<GatedDeltaRuleSaved> kept(kRanks);
  Tensor carried = Tensor::zeros(state);
  for (std::int64_t rank = 0; rank < kRanks; ++rank) {
    GatedDeltaRuleInputs inputs = inputs_of(rank);
    const std::int32_t edge[] = {0, 0, static_cast<std::int32_t>(rank * kLength)};
    const Tensor edges = Tensor::from(edge, {1, 3}), h = Tensor::empty(state);
    transitions.push_back(Tensor::empty(square));
    row_part_states(inputs, edges, h, transitions.back(), Stream());
    coming_in.push_back(carried);
    inputs.initial_state = carried;
    const Tensor own = like(inputs.v);
    gated_delta_rule_forward(inputs, own, {}, &kept[static_cast<std::size_t>(rank)], GatedDeltaRuleAlgorithm::kAuto,
                             Stream());
    EXPECT_TRUE(close(own, part_of(o, rank), 2e-6)) << "rank " << rank;
    kernels::add_carried_states(transitions.back(), false, carried, h, Stream());
    carried = h;
  }
  Tensor dcarried = Tensor::zeros(state);
  for (std::int64_t rank = kRanks - 1; rank >= 0; --rank) {
    GatedDeltaRuleInputs inputs = inputs_of(rank);
    inputs.initial_state = coming_in[static_cast<std::size_t>(rank)];
    const GatedDeltaRuleSaved& own = kept[static_cast<std::size_t>(rank)];
    const std::int32_t edge[] = {0, 0, static_cast<std::int32_t>(rank * kLength)};
    const Tensor dh = Tensor::empty(state), d_o = part_of(p.d_o, rank);
    const GatedDeltaRuleGradients gradients{like(inputs.q), like(inputs.k),    like(inputs.v),
                                            like(inputs.g), like(inputs.beta), {}};
    row_part_dstates(inputs, own, Tensor::from(edge, {1, 3}), d_o, dh, Stream());
    gated_delta_rule_backward(inputs, own, d_o, dcarried, gradients, Stream());
    EXPECT_TRUE(close(gradients.dq, part_of(expected.dq, rank), 3e-6)) << "rank " << rank;
    EXPECT_TRUE(close(gradients.dk, part_of(expected.dk, rank), 3e-6)) << "rank " << rank;
    EXPECT_TRUE(close(gradients.dv, part_of(expected.dv, rank), 3e-6)) << "rank " << rank;
    EXPECT_TRUE(close(gradients.dg, part_of(expected.dg, rank), 3e-6)) << "rank " << rank;
    EXPECT_TRUE(close(gradients.dbeta, part_of(expected.dbeta, rank), 3e-6)) << "rank " << rank;
    kernels::add_carried_states(transitions[static_cast<std::size_t>(rank)], true, dcarried, dh, Stream());
    dcarried = dh;
  }
}

TEST(RowParts, BadEdgesAreNamed) {
  const GatedDeltaRuleProblem p({"", {5, 6}, 1, 1, 4, 4});
  const std::int32_t edge[] = {1, 2, 0};
  const Tensor states = Tensor::empty({1, 1, 4, 4});
  EXPECT_THAT(testing::error_of([&] {
                row_part_states(p.inputs, Tensor::from(edge, {1, 3}), states, {}, Stream());
              }),
              ::testing::HasSubstr("part 0 has first sequence 1, last 2 and 0 tokens before, with 2 sequences"));
  EXPECT_THAT(testing::error_of([&] {
                row_part_states(p.inputs, Tensor::from(edge, {3, 1}), states, {}, Stream());
              }),
              ::testing::HasSubstr("edges: expected int32 [parts, 3]"));
}

}  // namespace
}  // namespace mudelta
