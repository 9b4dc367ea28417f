#include "kernels/gated_delta_rule/gated_delta_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>
#include <omp.h>

#include <cmath>
#include <functional>
#include <vector>

#include "kernels/gated_delta_rule/saved.h"
#include "tests/kernels/gated_delta_rule/cases.h"
#include "tests/support/compare.h"
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
using testing::same_bits;

constexpr GatedDeltaRuleAlgorithm kAlgorithms[] = {GatedDeltaRuleAlgorithm::kRecurrent,
                                                   GatedDeltaRuleAlgorithm::kChunkwise, GatedDeltaRuleAlgorithm::kAuto};

struct Results {
  Tensor o, final_state;
  GatedDeltaRuleSaved saved;
  GatedDeltaRuleGradients gradients;
};

Results run_forward(const GatedDeltaRuleInputs& inputs, GatedDeltaRuleAlgorithm algorithm) {
  const std::int64_t sequences = inputs.cu_seqlens.numel() - 1;
  Results r;
  r.o = Tensor::empty(inputs.v.shape(), inputs.v.dtype());
  r.final_state = Tensor::empty({sequences, inputs.v.size(1), inputs.q.size(2), inputs.v.size(2)});
  gated_delta_rule_forward(inputs, r.o, r.final_state, &r.saved, algorithm, Stream());
  return r;
}

Results run(const GatedDeltaRuleInputs& inputs, const Tensor& d_o, const Tensor& dfinal_state,
            GatedDeltaRuleAlgorithm algorithm) {
  Results r = run_forward(inputs, algorithm);
  const auto like = [](const Tensor& x) { return Tensor::empty(x.shape(), x.dtype()); };
  r.gradients = {like(inputs.q), like(inputs.k),    like(inputs.v),
                 like(inputs.g), like(inputs.beta), like(r.final_state)};
  gated_delta_rule_backward(inputs, r.saved, d_o, dfinal_state, r.gradients, Stream());
  return r;
}

Results run(const GatedDeltaRuleProblem& p, GatedDeltaRuleAlgorithm algorithm) {
  return run(p.inputs, p.d_o, p.dfinal_state, algorithm);
}

struct Tolerances {
  double output, gradient, gate_gradient;
};

Tolerances tolerances(const GatedDeltaRuleCase& c) {
  if (c.dtype == DType::kBFloat16) return {5e-3, 8e-3, 2e-2};
  if (c.keys != testing::KeyKind::kRandom) return {1e-5, 1e-5, 4e-5};  // such systems amplify rounding
  return {1e-6, 2e-6, 2e-6};
}

// The recurrent and the chunkwise forward pass, and the backward pass after each, against the oracle.
void expect_oracle_results(const GatedDeltaRuleProblem& p) {
  constexpr double kAbsolute = 1e-12;  // decays below 2^-60 count as zero
  const Tolerances t = tolerances(p.c);
  const oracle::GatedDeltaRule oracle = p.oracle();
  const auto outputs = oracle.forward();
  const auto gradients = oracle.backward(testing::to_doubles(p.d_o), testing::to_doubles(p.dfinal_state));
  for (const auto algorithm : kAlgorithms) {
    SCOPED_TRACE(algorithm == GatedDeltaRuleAlgorithm::kRecurrent ? "recurrent" : "chunkwise");
    const Results r = run(p, algorithm);
    EXPECT_TRUE(close(r.o, outputs.o, t.output, kAbsolute));
    EXPECT_TRUE(close(r.final_state, outputs.final_state, t.output, kAbsolute));
    EXPECT_TRUE(close(r.gradients.dq, gradients.dq, t.gradient, kAbsolute));
    EXPECT_TRUE(close(r.gradients.dk, gradients.dk, t.gradient, kAbsolute));
    EXPECT_TRUE(close(r.gradients.dv, gradients.dv, t.gradient, kAbsolute));
    EXPECT_TRUE(close(r.gradients.dg, gradients.dg, t.gate_gradient, kAbsolute));
    EXPECT_TRUE(close(r.gradients.dbeta, gradients.dbeta, t.gate_gradient, kAbsolute));
    EXPECT_TRUE(close(r.gradients.dinitial_state, gradients.dinitial_state, t.gradient, kAbsolute));
  }
}

void expect_same_bits(const Results& a, const Results& b) {
  EXPECT_TRUE(same_bits(a.o, b.o));
  EXPECT_TRUE(same_bits(a.final_state, b.final_state));
  EXPECT_TRUE(same_bits(a.gradients.dq, b.gradients.dq));
  EXPECT_TRUE(same_bits(a.gradients.dk, b.gradients.dk));
  EXPECT_TRUE(same_bits(a.gradients.dv, b.gradients.dv));
  EXPECT_TRUE(same_bits(a.gradients.dg, b.gradients.dg));
  EXPECT_TRUE(same_bits(a.gradients.dbeta, b.gradients.dbeta));
  EXPECT_TRUE(same_bits(a.gradients.dinitial_state, b.gradients.dinitial_state));
}

class GatedDeltaRuleCases : public ::testing::TestWithParam<GatedDeltaRuleCase> {};

TEST_P(GatedDeltaRuleCases, MatchOracle) { expect_oracle_results(GatedDeltaRuleProblem(GetParam())); }

TEST_P(GatedDeltaRuleCases, AlgorithmsAgree) {
  const GatedDeltaRuleProblem p(GetParam());
  const double state_tolerance = p.c.keys == testing::KeyKind::kRandom ? 2e-6 : 2e-5;
  const Results recurrent = run_forward(p.inputs, GatedDeltaRuleAlgorithm::kRecurrent);
  const Results chunkwise = run_forward(p.inputs, GatedDeltaRuleAlgorithm::kChunkwise);
  EXPECT_TRUE(close(recurrent.o, chunkwise.o, 2 * tolerances(p.c).output));
  EXPECT_TRUE(close(recurrent.final_state, chunkwise.final_state, state_tolerance, 1e-12));
  EXPECT_TRUE(
      close(recurrent.saved.content->chunk_states, chunkwise.saved.content->chunk_states, state_tolerance, 1e-12));
}

INSTANTIATE_TEST_SUITE_P(Table, GatedDeltaRuleCases, ::testing::ValuesIn(testing::gated_delta_rule_cases()),
                         [](const auto& param) { return param.param.name; });

// The oracle's adjoint against central differences of its forward pass.
TEST(GatedDeltaRuleOracle, BackwardIsTheDerivativeOfForward) {
  const GatedDeltaRuleProblem p({"", {3, 0, 5}, 1, 2, 3, 2});
  oracle::GatedDeltaRule oracle = p.oracle();
  const std::vector<double> d_o = testing::to_doubles(p.d_o), dfinal = testing::to_doubles(p.dfinal_state);
  const auto loss = [&] {
    const auto out = oracle.forward();
    double sum = 0;
    for (std::size_t i = 0; i < d_o.size(); ++i) sum += d_o[i] * out.o[i];
    for (std::size_t i = 0; i < dfinal.size(); ++i) sum += dfinal[i] * out.final_state[i];
    return sum;
  };
  const auto gradients = oracle.backward(d_o, dfinal);
  const auto check = [&](std::vector<double>& x, const std::vector<double>& dx) {
    constexpr double kStep = 1e-5;
    std::vector<double> differences;
    for (double& value : x) {
      const double original = value;
      value = original + kStep;
      const double above = loss();
      value = original - kStep;
      differences.push_back((above - loss()) / (2 * kStep));
      value = original;
    }
    EXPECT_TRUE(testing::close(dx, differences, 1e-9));
  };
  check(oracle.q, gradients.dq);
  check(oracle.k, gradients.dk);
  check(oracle.v, gradients.dv);
  check(oracle.g, gradients.dg);
  check(oracle.beta, gradients.dbeta);
  check(oracle.initial_state, gradients.dinitial_state);
}

TEST(GatedDeltaRule, EverySimdTargetMatchesOracle) {
  const GatedDeltaRuleProblem odd({"", {65, 3}, 1, 2, 36, 60}),
      half({"", {70}, 1, 1, 20, 33, {}, {}, -1, DType::kBFloat16});
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    expect_oracle_results(odd);
    expect_oracle_results(half);
  }
  hwy::SetSupportedTargetsForTest(0);
}

// The gradient of A_log is the sum of g dg: where |g| is large, noise in the place of a zero dg would drown the rest.
TEST(GatedDeltaRule, StrongDecaysAddNothingToTheGradientOfTheirRate) {
  constexpr std::int64_t kTokens = 150, kHeads = 4;
  const auto sums = [](const Tensor& g, const std::vector<double>& dg) {
    std::vector<double> sum(kHeads, 0.0);
    for (std::size_t i = 0; i < dg.size(); ++i) sum[i % kHeads] += g.data<float>()[i] * dg[i];
    return sum;
  };
  for (const float strong : {-2e3f, -1.6e4f, -9e5f, -9e6f}) {
    const GatedDeltaRuleProblem p({"", {kTokens}, 2, kHeads, 32, 32});
    for (std::int64_t i = 0; i < p.inputs.g.numel(); i += 5) p.inputs.g.data<float>()[i] = strong;
    const auto expected = p.oracle().backward(testing::to_doubles(p.d_o), testing::to_doubles(p.dfinal_state));
    for (const auto algorithm : kAlgorithms) {
      const Tensor dg = run(p, algorithm).gradients.dg;
      for (std::int64_t i = 0; i < dg.numel(); i += 5) EXPECT_EQ(dg.data<float>()[i], 0) << "token " << i / kHeads;
      EXPECT_TRUE(close(sums(p.inputs.g, testing::to_doubles(dg)), sums(p.inputs.g, expected.dg), 1e-6)) << strong;
    }
  }
}

TEST(GatedDeltaRule, AutoIsOneOfTheAlgorithms) {
  const GatedDeltaRuleProblem p({"", {65, 0, 37}, 2, 4});
  const Results r = run_forward(p.inputs, GatedDeltaRuleAlgorithm::kAuto);
  EXPECT_TRUE(same_bits(r.o, run_forward(p.inputs, GatedDeltaRuleAlgorithm::kRecurrent).o) ||
              same_bits(r.o, run_forward(p.inputs, GatedDeltaRuleAlgorithm::kChunkwise).o));
}

// A mistake upstream must show as NaN, not vanish.
TEST(GatedDeltaRule, NanInAnyInputReachesTheOutput) {
  for (const auto algorithm : kAlgorithms) {
    for (Tensor GatedDeltaRuleInputs::*input :
         {&GatedDeltaRuleInputs::q, &GatedDeltaRuleInputs::k, &GatedDeltaRuleInputs::v, &GatedDeltaRuleInputs::g,
          &GatedDeltaRuleInputs::beta}) {
      const GatedDeltaRuleProblem p({"", {40}, 1, 1, 20, 24});
      const Tensor& spoilt = p.inputs.*input;
      spoilt.data<float>()[39 * spoilt.numel() / 40] = std::nanf("");
      const Results r = run_forward(p.inputs, algorithm);
      EXPECT_TRUE(std::isnan(r.o.data<float>()[39 * 24]));
    }
  }
}

TEST(GatedDeltaRule, UndefinedStatesAreZero) {
  GatedDeltaRuleProblem p({"", {65, 0, 70}, 1, 2});
  p.inputs.initial_state.fill_zero();
  p.dfinal_state.fill_zero();
  for (const auto algorithm : kAlgorithms) {
    const Results expected = run(p, algorithm);
    GatedDeltaRuleInputs inputs = p.inputs;
    inputs.initial_state = {};
    Results r = run(inputs, p.d_o, {}, algorithm);
    expect_same_bits(r, expected);
    r.gradients.dinitial_state = {};
    r.o.fill_zero();
    gated_delta_rule_forward(inputs, r.o, {}, nullptr, algorithm, Stream());
    EXPECT_TRUE(same_bits(r.o, expected.o));
    r.gradients.dq.fill_zero();
    gated_delta_rule_backward(inputs, r.saved, p.d_o, {}, r.gradients, Stream());
    EXPECT_TRUE(same_bits(r.gradients.dq, expected.gradients.dq));
  }
}

TEST(GatedDeltaRule, EmptySequencesHandOnTheirState) {
  const GatedDeltaRuleProblem p({"", {5, 0, 7}, 1, 2});
  for (const auto algorithm : kAlgorithms) {
    const Results r = run(p, algorithm);
    EXPECT_TRUE(same_bits(r.final_state.slice(1, 2), p.inputs.initial_state.slice(1, 2)));
    EXPECT_TRUE(same_bits(r.gradients.dinitial_state.slice(1, 2), p.dfinal_state.slice(1, 2)));
  }
}

TEST(GatedDeltaRule, FinalStateMayBeTheInitialState) {
  for (const auto algorithm : kAlgorithms) {
    GatedDeltaRuleProblem p({"", {65, 0, 1}, 1, 2});
    const Results expected = run_forward(p.inputs, algorithm);
    const Tensor o = Tensor::empty(p.inputs.v.shape());
    gated_delta_rule_forward(p.inputs, o, p.inputs.initial_state, nullptr, algorithm, Stream());
    EXPECT_TRUE(same_bits(o, expected.o));
    EXPECT_TRUE(same_bits(p.inputs.initial_state, expected.final_state));
  }
}

// Tokens [begin, end) of all inputs as sequences of their own.
GatedDeltaRuleInputs part_of(const GatedDeltaRuleInputs& inputs, std::int32_t begin, std::int32_t end,
                             const Tensor& initial_state) {
  GatedDeltaRuleInputs part = inputs;
  for (Tensor* x : {&part.q, &part.k, &part.v, &part.g, &part.beta}) *x = x->slice(begin, end);
  const std::int32_t offsets[] = {0, end - begin};
  part.cu_seqlens = Tensor::from(offsets, {2});
  part.initial_state = initial_state;
  return part;
}

TEST(GatedDeltaRule, PackedSequencesHaveTheBitsOfSeparateOnes) {
  const GatedDeltaRuleProblem p({"", {70, 0, 1, 129}, 2, 4});
  const auto offsets = p.inputs.cu_seqlens.span<std::int32_t>();
  for (const auto algorithm : kAlgorithms) {
    const Results packed = run(p, algorithm);
    for (std::size_t n = 0; n + 1 < offsets.size(); ++n) {
      const auto begin = offsets[n], end = offsets[n + 1];
      const auto state = static_cast<std::int64_t>(n);
      const auto alone = run(part_of(p.inputs, begin, end, p.inputs.initial_state.slice(state, state + 1)),
                             p.d_o.slice(begin, end), p.dfinal_state.slice(state, state + 1), algorithm);
      const auto& g = packed.gradients;
      expect_same_bits(
          {.o = packed.o.slice(begin, end),
           .final_state = packed.final_state.slice(state, state + 1),
           .gradients = {g.dq.slice(begin, end), g.dk.slice(begin, end), g.dv.slice(begin, end), g.dg.slice(begin, end),
                         g.dbeta.slice(begin, end), g.dinitial_state.slice(state, state + 1)}},
          alone);
    }
  }
}

TEST(GatedDeltaRule, TwoHalvesWithTheStateHandedOverAreTheWhole) {
  const GatedDeltaRuleProblem p({"", {200}, 1, 2, 20, 24, testing::GateKind::kWeak});
  for (const std::int32_t cut : {1, 64, 83}) {
    for (const auto algorithm : kAlgorithms) {
      const Results whole = run(p, algorithm);
      const auto first_inputs = part_of(p.inputs, 0, cut, p.inputs.initial_state);
      const Results first = run_forward(first_inputs, algorithm);
      const Results second =
          run(part_of(p.inputs, cut, 200, first.final_state), p.d_o.slice(cut, 200), p.dfinal_state, algorithm);
      const Results first_back = run(first_inputs, p.d_o.slice(0, cut), second.gradients.dinitial_state, algorithm);
      EXPECT_TRUE(close(first.o, whole.o.slice(0, cut), 2e-6));
      EXPECT_TRUE(close(second.o, whole.o.slice(cut, 200), 2e-6));
      EXPECT_TRUE(close(second.final_state, whole.final_state, 2e-6));
      EXPECT_TRUE(close(first_back.gradients.dinitial_state, whole.gradients.dinitial_state, 4e-6));
      EXPECT_TRUE(close(first_back.gradients.dg, whole.gradients.dg.slice(0, cut), 4e-6));
      EXPECT_TRUE(close(second.gradients.dg, whole.gradients.dg.slice(cut, 200), 4e-6));
      EXPECT_TRUE(close(first_back.gradients.dk, whole.gradients.dk.slice(0, cut), 4e-6));
      EXPECT_TRUE(close(second.gradients.dq, whole.gradients.dq.slice(cut, 200), 4e-6));
    }
  }
}

// One sequence and one head: the forward pass then divides the value columns among the threads.
TEST(GatedDeltaRule, AnyNumberOfThreadsGivesTheSameBits) {
  const int threads_before = omp_get_max_threads();
  for (const GatedDeltaRuleCase& c :
       {GatedDeltaRuleCase{"", {140}, 1, 1, 20, 100}, GatedDeltaRuleCase{"", {90, 50}, 2, 4},
        GatedDeltaRuleCase{"", {140}, 1, 3, 20, 40}}) {
    const GatedDeltaRuleProblem p(c);
    for (const auto algorithm : kAlgorithms) {
      omp_set_num_threads(1);
      const Results expected = run(p, algorithm);
      for (const int threads : {1, 2, 3, 5, 16}) {
        omp_set_num_threads(threads);
        expect_same_bits(run(p, algorithm), expected);
      }
    }
  }
  omp_set_num_threads(threads_before);
}

TEST(GatedDeltaRule, RefusesTensorsThatDoNotFit) {
  using ::testing::HasSubstr;
  const auto forward_error = [](const std::function<void(GatedDeltaRuleInputs&)>& spoil) {
    GatedDeltaRuleProblem p({"", {5, 3}, 2, 4, 8, 6});
    const Tensor o = Tensor::empty(p.inputs.v.shape());
    spoil(p.inputs);
    return testing::error_of(
        [&] { gated_delta_rule_forward(p.inputs, o, {}, nullptr, GatedDeltaRuleAlgorithm::kAuto, Stream()); });
  };
  using Inputs = GatedDeltaRuleInputs;
  const auto offsets = [](std::vector<std::int32_t> values) {
    return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
  };
  EXPECT_EQ(forward_error([](Inputs&) {}), "no error was thrown");
  EXPECT_THAT(forward_error([](Inputs& x) { x.q = {}; }), HasSubstr("[gated_delta_rule_forward] q: expected"));
  EXPECT_THAT(forward_error([](Inputs& x) { x.q = Tensor::empty({8, 16}); }), HasSubstr("q: expected [tokens, heads"));
  EXPECT_THAT(forward_error([](Inputs& x) { x.k = x.k.to(DType::kBFloat16); }),
              HasSubstr("k: expected float32[8, 2, 8], got bfloat16[8, 2, 8]"));
  EXPECT_THAT(forward_error([](Inputs& x) {
                x.v = Tensor::empty({7, 4, 6});
              }),
              HasSubstr("v: expected float32[8, 4, 6], got float32[7, 4, 6]"));
  EXPECT_THAT(forward_error([](Inputs& x) {
                x.v = Tensor::empty({8, 3, 6});
              }),
              HasSubstr("3 value heads are not a multiple of 2 heads"));
  EXPECT_THAT(forward_error([](Inputs& x) { x.g = Tensor::empty({8, 2}); }), HasSubstr("g: expected float32[8, 4]"));
  EXPECT_THAT(forward_error([](Inputs& x) { x.beta = {}; }), HasSubstr("beta: expected float32[8, 4], got undefined"));
  EXPECT_THAT(forward_error([](Inputs& x) { x.cu_seqlens = {}; }), HasSubstr("cu_seqlens: expected int32"));
  EXPECT_THAT(forward_error([&](Inputs& x) {
                x.cu_seqlens = offsets({0, 5, 9});
              }),
              HasSubstr("cu_seqlens: expected to go from 0 to 8 tokens, goes from 0 to 9"));
  EXPECT_THAT(forward_error([&](Inputs& x) {
                x.cu_seqlens = offsets({0, 9, 8});
              }),
              HasSubstr("cu_seqlens: falls from 9 to 8 at sequence 1"));
  EXPECT_THAT(forward_error([](Inputs& x) {
                x.initial_state = Tensor::empty({2, 4, 8, 5});
              }),
              HasSubstr("initial_state: expected float32[2, 4, 8, 6]"));

  const GatedDeltaRuleProblem p({"", {5, 3}, 2, 4, 8, 6});
  const auto forward_into = [&](const Tensor& o, const Tensor& final_state) {
    return testing::error_of(
        [&] { gated_delta_rule_forward(p.inputs, o, final_state, nullptr, GatedDeltaRuleAlgorithm::kAuto, Stream()); });
  };
  EXPECT_THAT(forward_into(Tensor::empty({8, 4, 5}), {}), HasSubstr("o: expected float32[8, 4, 6]"));
  EXPECT_THAT(forward_into(Tensor::empty({8, 4, 6}), Tensor::empty({1, 4, 8, 6})), HasSubstr("final_state: expected"));

  const auto backward_error = [&](const std::function<void(Results&)>& spoil) {
    Results r = run(p, GatedDeltaRuleAlgorithm::kAuto);
    r.o = p.d_o;
    r.final_state = p.dfinal_state;
    spoil(r);
    return testing::error_of(
        [&] { gated_delta_rule_backward(p.inputs, r.saved, r.o, r.final_state, r.gradients, Stream()); });
  };
  EXPECT_EQ(backward_error([](Results&) {}), "no error was thrown");
  EXPECT_THAT(backward_error([](Results& r) { r.saved = {}; }),
              HasSubstr("saved: expected what a forward pass leaves"));
  EXPECT_THAT(backward_error([](Results& r) { r.saved.content->chunk_states = {}; }),
              HasSubstr("saved.chunk_states: expected float32[2, 4"));
  EXPECT_THAT(backward_error([](Results& r) { r.o = {}; }), HasSubstr("d_o: expected"));
  EXPECT_THAT(backward_error([](Results& r) { r.final_state = Tensor::empty({3}); }),
              HasSubstr("dfinal_state: expected"));
  EXPECT_THAT(backward_error([](Results& r) { r.gradients.dq = {}; }), HasSubstr("dq: expected"));
  EXPECT_THAT(backward_error([](Results& r) { r.gradients.dk = {}; }), HasSubstr("dk: expected"));
  EXPECT_THAT(backward_error([](Results& r) { r.gradients.dv = {}; }), HasSubstr("dv: expected"));
  EXPECT_THAT(backward_error([](Results& r) { r.gradients.dg = {}; }), HasSubstr("dg: expected"));
  EXPECT_THAT(backward_error([](Results& r) { r.gradients.dbeta = {}; }), HasSubstr("dbeta: expected"));
  EXPECT_THAT(backward_error([](Results& r) { r.gradients.dinitial_state = Tensor::empty({3}); }),
              HasSubstr("dinitial_state: expected"));
}

}  // namespace
}  // namespace mudelta
