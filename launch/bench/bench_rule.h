#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "launch/bench/random_tensors.h"

namespace mudelta {

// A problem of the gated delta rule: `sequences` sequences of `length` tokens.
struct RuleShape {
  std::int64_t sequences, length, heads, value_heads, key_dim, value_dim;

  std::string to_string() const;  // "8x2048,16/32,128x256"
};
// From to_string's form; throws Error, naming what is wrong, for another.
RuleShape parse_rule_shape(const std::string& text);
// The shapes in a list: "A,B,C,D,E,F" -> "A,B,C" and "D,E,F"; the last may be incomplete.
std::vector<std::string> split_rule_shapes(const std::string& list);
// What `mudelta bench` measures unless told otherwise.
std::vector<std::string> default_rule_shapes(bool on_gpu);

// The least that any kernel has to do for it: operands and results once through memory (the backward pass: and one
// [chunk, chunk] matrix a chunk and value head, saved by the forward pass), and the products of the chunkwise form with
// chunks of 64 (docs/kernels.md), states computed again in the backward pass.
struct RuleCost {
  double flops, bytes;

  // Seconds at these rates, whichever takes longer.
  double floor(double flops_per_second, double bytes_per_second) const;
};
RuleCost rule_forward_cost(const RuleShape& shape, DType dtype);
RuleCost rule_backward_cost(const RuleShape& shape, DType dtype);

struct RuleProblem {
  kernels::GatedDeltaRuleInputs inputs;
  Tensor o, d_o;
  kernels::GatedDeltaRuleGradients gradients;
};
// Of random numbers: keys of length about 1, g of about -0.08.
RuleProblem random_rule_problem(const RuleShape& shape, DType dtype, RandomTensors& random);

// Ready to be timed, forward first: it saves what backward reads.
struct RuleCalls {
  std::function<void()> forward, backward;
};
RuleCalls rule_calls(const RuleProblem& problem, Stream stream);

}  // namespace mudelta
