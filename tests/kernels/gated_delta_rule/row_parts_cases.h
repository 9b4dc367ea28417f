#pragma once

#include <algorithm>
#include <vector>

#include "kernels/gated_delta_rule/row_parts.h"
#include "kernels/row_edges.h"
#include "tests/kernels/gated_delta_rule/cases.h"
#include "tests/support/compare.h"

// What parts of rows make of states, against the float64 oracle of sequences.
namespace mudelta::testing {

struct PartStates {
  Tensor states, transitions, dstates;
};

// The sequences as parts: each one, which a document goes through or, every third, begins in; or all of them as one.
inline std::vector<Tensor> part_edges(const GatedDeltaRuleCase& c) {
  std::vector<std::int32_t> each;
  const auto sequences = static_cast<std::int32_t>(c.lengths.size());
  for (std::int32_t s = 0; s < sequences; ++s) each.insert(each.end(), {s, s, (s + 1) % 3});
  std::vector<Tensor> all = {Tensor::from(each, {sequences, kernels::kEdgeColumns})};
  const std::int32_t together[] = {0, sequences - 1, 5};
  if (sequences > 0) all.push_back(Tensor::from(together, {1, kernels::kEdgeColumns}));
  return all;
}

inline PartStates run_parts(const GatedDeltaRuleProblem& p, const Tensor& edges, Device on) {
  const Stream stream(on);
  kernels::GatedDeltaRuleInputs inputs = p.inputs;
  for (Tensor* tensor :
       {&inputs.q, &inputs.k, &inputs.v, &inputs.g, &inputs.beta, &inputs.cu_seqlens, &inputs.initial_state}) {
    *tensor = tensor->to(on);
  }
  const Tensor on_device = edges.to(on), o = Tensor::empty(p.inputs.v.shape(), p.inputs.v.dtype(), on);
  const auto empty = [&](std::int64_t columns) {
    return Tensor::empty({edges.size(0), p.c.value_heads, p.c.key_dim, columns}, DType::kFloat32, on);
  };
  PartStates r{empty(p.c.value_dim), empty(p.c.key_dim), empty(p.c.value_dim)};
  row_part_states(inputs, on_device, r.states, r.transitions, stream);
  kernels::GatedDeltaRuleSaved saved;
  gated_delta_rule_forward(inputs, o, {}, &saved, kernels::GatedDeltaRuleAlgorithm::kAuto, stream);
  row_part_dstates(inputs, saved, on_device, p.d_o.to(on), r.dstates, stream);
  for (Tensor* tensor : {&r.states, &r.transitions, &r.dstates}) *tensor = tensor->to(Device());
  return r;
}

// The part of `all` [sequences, n] that is of one sequence.
inline std::vector<double> of_sequence(const std::vector<double>& all, std::int64_t sequences, std::int64_t sequence) {
  const auto n = static_cast<std::int64_t>(all.size()) / sequences;
  return {all.begin() + sequence * n, all.begin() + (sequence + 1) * n};
}

inline void expect_oracle_parts(const GatedDeltaRuleProblem& p, const Tensor& edges, const PartStates& r,
                                double tolerance, double transition_tolerance) {
  constexpr double kAbsolute = 1e-12;
  oracle::GatedDeltaRule from_zero = p.oracle();
  std::ranges::fill(from_zero.initial_state, 0.0);
  const auto outputs = from_zero.forward();
  const auto gradients =
      from_zero.backward(to_doubles(p.d_o), std::vector<double>(from_zero.initial_state.size(), 0.0));
  // M is what becomes of the identity without values.
  oracle::GatedDeltaRule of_identity = from_zero;
  const std::int64_t k = p.c.key_dim, sequences = static_cast<std::int64_t>(p.c.lengths.size());
  of_identity.value_dim = k;
  of_identity.v.assign(static_cast<std::size_t>(p.c.tokens() * p.c.value_heads * k), 0.0);
  of_identity.initial_state.clear();
  for (std::int64_t row = 0; row < sequences * p.c.value_heads * k; ++row) {
    for (std::int64_t column = 0; column < k; ++column) of_identity.initial_state.push_back(column == row % k);
  }
  const auto transitions = of_identity.forward();
  for (std::int64_t part = 0; part < edges.size(0); ++part) {
    SCOPED_TRACE("part " + std::to_string(part));
    const std::int32_t* edge = edges.data<std::int32_t>() + part * kernels::kEdgeColumns;
    const std::int32_t first = edge[kernels::kFirstSequence], last = edge[kernels::kLastSequence];
    const bool comes_in = edge[kernels::kTokensBefore] > 0;
    const auto zeros = [](const Tensor& x) { return std::vector<double>(static_cast<std::size_t>(x.numel()), 0.0); };
    const Tensor states = r.states.slice(part, part + 1), m = r.transitions.slice(part, part + 1);
    const Tensor dstates = r.dstates.slice(part, part + 1);
    EXPECT_TRUE(close(states, of_sequence(outputs.final_state, sequences, last), tolerance, kAbsolute)) << "H";
    EXPECT_TRUE(close(m, comes_in && first == last ? of_sequence(transitions.final_state, sequences, first) : zeros(m),
                      transition_tolerance, kAbsolute))
        << "M";
    EXPECT_TRUE(close(dstates, comes_in ? of_sequence(gradients.dinitial_state, sequences, first) : zeros(dstates),
                      tolerance, kAbsolute))
        << "dH";
  }
}

}  // namespace mudelta::testing
