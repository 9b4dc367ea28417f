#include "launch/bench/bench_rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <memory>
#include <sstream>
#include <string_view>

#include "core/error.h"

namespace mudelta {
namespace {

constexpr double kChunk = 64;

double value_rows(const RuleShape& s) {
  return static_cast<double>(s.sequences * s.length) * static_cast<double>(s.value_heads);
}

}  // namespace

std::string RuleShape::to_string() const {
  return fmt::format("{}x{},{}/{},{}x{}", sequences, length, heads, value_heads, key_dim, value_dim);
}

RuleShape parse_rule_shape(const std::string& text) {
  constexpr std::string_view kSeparators = "x,/,x";
  std::int64_t n[6] = {};
  const char *next = text.data(), *const end = text.data() + text.size();
  bool is_shape = true;
  for (std::size_t i = 0; i < std::size(n) && is_shape; ++i) {
    if (i > 0) is_shape = next != end && *next++ == kSeparators[i - 1];
    const auto [stopped, error] = std::from_chars(next, end, n[i]);
    is_shape = is_shape && error == std::errc();
    next = stopped;
  }
  require(is_shape && next == end,
          "--rule {}: expected SEQUENCESxTOKENS,HEADS/VALUE_HEADS,KEY_DIMxVALUE_DIM, as in 8x2048,16/32,128x256", text);
  require(std::ranges::all_of(n, [](std::int64_t x) { return x > 0; }), "--rule {}: expected positive numbers", text);
  const RuleShape shape{n[0], n[1], n[2], n[3], n[4], n[5]};
  require(shape.value_heads % shape.heads == 0, "--rule {}: expected a multiple of {} for value heads", text,
          shape.heads);
  constexpr std::int64_t kMaxTokens = std::numeric_limits<std::int32_t>::max();
  require(n[0] <= kMaxTokens / n[1], "--rule {}: expected at most {} tokens", text, kMaxTokens);
  return shape;
}

std::vector<std::string> split_rule_shapes(const std::string& list) {
  std::vector<std::string> shapes;
  std::istringstream parts(list);
  int count = 0;
  for (std::string part; std::getline(parts, part, ','); ++count) {
    if (count % 3 == 0) {
      shapes.push_back(part);
    } else {
      shapes.back() += "," + part;
    }
  }
  return shapes;
}

std::vector<std::string> default_rule_shapes(bool on_gpu) {
  if (!on_gpu) return {"4x512,4/4,64x64", "1x2048,2/4,128x128"};
  return {"8x2048,16/16,128x128",  "8x2048,16/16,64x64",    "8x2048,8/8,256x256", "4x2048,32/32,128x128",
          "1x32768,16/16,128x128", "1x32768,16/32,128x128", "1x32768,2/8,128x128"};
}

double RuleCost::floor(double flops_per_second, double bytes_per_second) const {
  return std::max(flops / flops_per_second, bytes / bytes_per_second);
}

RuleCost rule_forward_cost(const RuleShape& s, DType dtype) {
  const auto k = static_cast<double>(s.key_dim), v = static_cast<double>(s.value_dim);
  const double group = static_cast<double>(s.value_heads / s.heads), gates = 8;
  return {.flops = value_rows(s) * 2 * (3 * k * v + 2 * kChunk * (k + v)),
          .bytes = value_rows(s) * (static_cast<double>(size_of(dtype)) * (2 * k / group + 2 * v) + gates)};
}

RuleCost rule_backward_cost(const RuleShape& s, DType dtype) {
  const auto k = static_cast<double>(s.key_dim), v = static_cast<double>(s.value_dim);
  const double group = static_cast<double>(s.value_heads / s.heads), gates = 24;
  const double gradients = 7 * k * v + kChunk * (5 * k + 4 * v), states = 2 * k * v + kChunk * v;
  return {.flops = value_rows(s) * 2 * (gradients + states),
          .bytes = value_rows(s) * (static_cast<double>(size_of(dtype)) * (4 * k / group + 3 * v + kChunk) + gates)};
}

RuleProblem random_rule_problem(const RuleShape& s, DType dtype, RandomTensors& random) {
  const std::int64_t tokens = s.sequences * s.length;
  const Shape key_shape{tokens, s.heads, s.key_dim}, value_shape{tokens, s.value_heads, s.value_dim};
  const Shape gate_shape{tokens, s.value_heads};
  std::vector<std::int32_t> starts;
  for (std::int64_t i = 0; i <= s.sequences; ++i) starts.push_back(static_cast<std::int32_t>(i * s.length));
  const Tensor cu_seqlens = Tensor::from(starts, {s.sequences + 1}).to(random.stream().device());

  const double key_std = 1 / std::sqrt(static_cast<double>(s.key_dim));
  const Tensor q = random.normal(key_shape, dtype, key_std), k = random.normal(key_shape, dtype, key_std);
  const Tensor v = random.normal(value_shape, dtype), o = random.normal(value_shape, dtype);
  const Tensor d_o = random.normal(value_shape, dtype);
  const Tensor g = random.floats_of(gate_shape, [](float x) { return -0.1f * std::abs(x); });
  const Tensor beta = random.floats_of(gate_shape, [](float x) { return 1 / (1 + std::exp(-x)); });
  return {.inputs = {q, k, v, g, beta, cu_seqlens, {}, 1.0f},
          .o = o,
          .d_o = d_o,
          .gradients = {random.normal(key_shape, dtype),
                        random.normal(key_shape, dtype),
                        random.normal(value_shape, dtype),
                        random.floats(gate_shape),
                        random.floats(gate_shape),
                        {}}};
}

RuleCalls rule_calls(const RuleProblem& p, Stream stream) {
  const auto saved = std::make_shared<kernels::GatedDeltaRuleSaved>();
  return {.forward =
              [=] {
                kernels::gated_delta_rule_forward(p.inputs, p.o, {}, saved.get(),
                                                  kernels::GatedDeltaRuleAlgorithm::kAuto, stream);
              },
          .backward = [=] { kernels::gated_delta_rule_backward(p.inputs, *saved, p.d_o, {}, p.gradients, stream); }};
}

}  // namespace mudelta
