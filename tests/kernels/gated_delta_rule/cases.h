#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "tests/oracle/gated_delta_rule.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

// Problems for the gated delta rule, one table for all of its tests.
namespace mudelta::testing {

enum class GateKind { kNone, kWeak, kTypical, kStrong, kOneWipe };
enum class KeyKind { kRandom, kNearlyEqual, kEqual };

struct GatedDeltaRuleCase {
  std::string name;
  std::vector<std::int32_t> lengths;
  std::int64_t heads = 1, value_heads = 1, key_dim = 32, value_dim = 64;
  GateKind gates = GateKind::kTypical;
  KeyKind keys = KeyKind::kRandom;
  double beta = -1;  // of every token; negative: uniform in [0, 1]
  DType dtype = DType::kFloat32;

  std::int64_t tokens() const;
};

inline std::ostream& operator<<(std::ostream& out, const GatedDeltaRuleCase& c) { return out << c.name; }

inline std::int64_t GatedDeltaRuleCase::tokens() const {
  std::int64_t sum = 0;
  for (const std::int32_t length : lengths) sum += length;
  return sum;
}

inline std::vector<GatedDeltaRuleCase> gated_delta_rule_cases() {
  const std::vector<std::int32_t> all_lengths = {63, 0, 1, 64, 2, 0, 0, 65, 127, 129, 0};
  std::vector<GatedDeltaRuleCase> cases = {
      {"NoSequences", {}},
      {"OnlyEmptySequences", {0, 0}, 2, 4},
      {"OneToken", {1}},
      {"AllLengths", all_lengths, 2, 2, 16, 32},
      {"AllLengthsNoDecay", all_lengths, 1, 2, 16, 16, GateKind::kNone},
      {"Long", {700}, 1, 1, 32, 32, GateKind::kWeak},
      {"ManyShort", std::vector<std::int32_t>(40, 16), 2, 2, 16, 32},
      {"OneByOne", {33, 70}, 1, 1, 1, 1},
      {"Groups2", {65, 0, 37}, 2, 4, 36, 20},
      {"Groups4", {65, 0, 97}, 2, 8, 20, 24},
      {"AllLengthsWideKeys", all_lengths, 1, 1, 72, 16},
  };
  for (const std::int64_t key_dim : {7, 36, 100}) {
    for (const std::int64_t value_dim : {5, 60, 256}) {
      cases.push_back(
          {"Dims" + std::to_string(key_dim) + "x" + std::to_string(value_dim), {65, 0, 5}, 1, 1, key_dim, value_dim});
    }
  }
  const std::pair<std::string, GateKind> gates[] = {{"NoGate", GateKind::kNone},
                                                    {"WeakGate", GateKind::kWeak},
                                                    {"TypicalGate", GateKind::kTypical},
                                                    {"StrongGate", GateKind::kStrong},
                                                    {"OneWipe", GateKind::kOneWipe}};
  const std::pair<std::string, KeyKind> keys[] = {
      {"", KeyKind::kRandom}, {"NearlyEqualKeys", KeyKind::kNearlyEqual}, {"EqualKeys", KeyKind::kEqual}};
  const std::pair<std::string, double> betas[] = {
      {"Beta0", 0}, {"BetaTiny", 1e-4}, {"Beta1", 1}, {"Beta1_9", 1.9}, {"Beta2", 2}};
  for (const auto& [gate_name, gate] : gates) {
    for (const auto& [key_name, key] : keys) {
      for (const auto& [beta_name, beta] : betas) {
        cases.push_back({gate_name + key_name + beta_name, {129, 40}, 1, 1, 24, 20, gate, key, beta});
      }
    }
  }
  cases.push_back({"BFloat16", {65, 0, 137}, 2, 2, 32, 64, GateKind::kTypical, KeyKind::kRandom, -1, DType::kBFloat16});
  cases.push_back({"BFloat16Odd", {130}, 1, 2, 36, 60, GateKind::kWeak, KeyKind::kRandom, 1.0, DType::kBFloat16});
  return cases;
}

// A case with its numbers: inputs, and gradients of the outputs.
struct GatedDeltaRuleProblem {
  GatedDeltaRuleCase c;
  kernels::GatedDeltaRuleInputs inputs;
  Tensor d_o, dfinal_state;

  explicit GatedDeltaRuleProblem(const GatedDeltaRuleCase& wanted, std::uint64_t seed = 1);

  oracle::GatedDeltaRule oracle() const;
};

inline GatedDeltaRuleProblem::GatedDeltaRuleProblem(const GatedDeltaRuleCase& wanted, std::uint64_t seed) : c(wanted) {
  const std::int64_t tokens = c.tokens(), sequences = static_cast<std::int64_t>(c.lengths.size());
  const Shape gate_shape{tokens, c.value_heads}, state_shape{sequences, c.value_heads, c.key_dim, c.value_dim};
  const Shape key_shape{tokens, c.heads, c.key_dim}, value_shape{tokens, c.value_heads, c.value_dim};

  inputs.q = random_normal(key_shape, "q", 1, 0, seed).to(c.dtype);
  Tensor keys = random_normal(key_shape, "k", 1, 0, seed);
  const double noise = c.keys == KeyKind::kRandom ? 1 : c.keys == KeyKind::kNearlyEqual ? 0.01 : 0;
  const CounterRng common(seed, "common key");
  for (std::int64_t row = 0; row < tokens * c.heads; ++row) {
    float* key = keys.data<float>() + row * c.key_dim;
    double square = 0;
    for (std::int64_t r = 0; r < c.key_dim; ++r) {
      key[r] = static_cast<float>(noise * key[r] + (1 - noise) * common.normal(r));
      square += key[r] * key[r];
    }
    for (std::int64_t r = 0; r < c.key_dim; ++r) key[r] = static_cast<float>(key[r] / std::sqrt(square));
  }
  inputs.k = keys.to(c.dtype);
  inputs.v = random_normal(value_shape, "v", 1, 0, seed).to(c.dtype);

  const double strongest = c.gates == GateKind::kNone ? 0 : c.gates == GateKind::kWeak ? -1e-3 : -2;
  inputs.g = random_uniform(gate_shape, "g", strongest, 0, seed);
  if (c.gates == GateKind::kStrong) inputs.g = random_uniform(gate_shape, "g", -20, -19.9, seed);
  if (c.gates == GateKind::kOneWipe) {
    inputs.g = random_uniform(gate_shape, "g", -0.1, 0, seed);
    for (std::int64_t h = 0; h < c.value_heads; ++h) inputs.g.data<float>()[tokens / 2 * c.value_heads + h] = -80;
  }
  inputs.beta = c.beta < 0 ? random_uniform(gate_shape, "beta", 0, 1, seed)
                           : random_uniform(gate_shape, "beta", c.beta, c.beta, seed);
  std::vector<std::int32_t> offsets{0};
  for (const std::int32_t length : c.lengths) offsets.push_back(offsets.back() + length);
  inputs.cu_seqlens = Tensor::from(offsets, {sequences + 1});
  inputs.initial_state = random_normal(state_shape, "initial_state", 1, 0, seed);
  inputs.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(c.key_dim)));

  d_o = random_normal(value_shape, "d_o", 1, 0, seed).to(c.dtype);
  dfinal_state = random_normal(state_shape, "dfinal_state", 1, 0, seed);
}

inline oracle::GatedDeltaRule GatedDeltaRuleProblem::oracle() const {
  const auto offsets = inputs.cu_seqlens.span<std::int32_t>();
  return {.heads = c.heads,
          .value_heads = c.value_heads,
          .key_dim = c.key_dim,
          .value_dim = c.value_dim,
          .scale = inputs.scale,
          .cu_seqlens = {offsets.begin(), offsets.end()},
          .q = to_doubles(inputs.q),
          .k = to_doubles(inputs.k),
          .v = to_doubles(inputs.v),
          .g = to_doubles(inputs.g),
          .beta = to_doubles(inputs.beta),
          .initial_state = to_doubles(inputs.initial_state)};
}

}  // namespace mudelta::testing
