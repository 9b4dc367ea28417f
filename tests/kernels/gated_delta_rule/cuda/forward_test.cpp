#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "kernels/gated_delta_rule/saved.h"
#include "tests/kernels/cuda/on_device.h"
#include "tests/kernels/gated_delta_rule/cases.h"
#include "tests/support/compare.h"

// The chunkwise forward kernels against float64.
namespace mudelta::testing {
namespace {

using kernels::GatedDeltaRuleAlgorithm;
using kernels::GatedDeltaRuleInputs;
using kernels::GatedDeltaRuleSaved;

using kernels::cuda::gated_delta_rule::kChunk;

enum class Gates { kUniform, kConstant, kLogSigmoid, kOneWipe };

struct ForwardCase {
  GatedDeltaRuleCase c;
  Gates gates = Gates::kUniform;
  double g = 0;  // of every token, for kConstant
};

std::ostream& operator<<(std::ostream& out, const ForwardCase& c) { return out << c.c.name; }

GatedDeltaRuleProblem problem_of(const ForwardCase& wanted) {
  GatedDeltaRuleProblem p(wanted.c);
  const auto g = p.inputs.g.span<float>();
  const CounterRng rng(1, "gates");
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (wanted.gates == Gates::kConstant) g[i] = static_cast<float>(wanted.g);
    if (wanted.gates == Gates::kLogSigmoid) g[i] = static_cast<float>(-std::log1p(std::exp(-3 * rng.normal(i))));
    if (wanted.gates == Gates::kOneWipe) g[i] = i / p.c.value_heads == g.size() / p.c.value_heads / 2 ? -80 : -0.05f;
  }
  return p;
}

std::vector<ForwardCase> forward_cases() {
  const auto with = [](std::string name, std::vector<std::int32_t> lengths, std::int64_t heads,
                       std::int64_t value_heads, std::int64_t key_dim, std::int64_t value_dim, double beta = -1,
                       KeyKind keys = KeyKind::kRandom) {
    return GatedDeltaRuleCase{.name = std::move(name),
                              .lengths = std::move(lengths),
                              .heads = heads,
                              .value_heads = value_heads,
                              .key_dim = key_dim,
                              .value_dim = value_dim,
                              .keys = keys,
                              .beta = beta,
                              .dtype = DType::kBFloat16};
  };
  std::vector<ForwardCase> cases = {
      {with("NoSequences", {}, 1, 1, 32, 16)},
      {with("OnlyEmptySequences", {0, 0}, 1, 2, 32, 16)},
      {with("Documents", {63, 0, 1, 64, 2, 0, 0, 65, 127, 129, 0}, 1, 2, 32, 48)},
      {with("Groups", {65, 0, 70}, 2, 6, 32, 32)},
      {with("Keys64", {130}, 1, 1, 64, 64), Gates::kLogSigmoid},
      {with("Keys96", {129}, 1, 1, 96, 80), Gates::kConstant, -0.01},
      {with("Keys128", {200}, 1, 1, 128, 128), Gates::kConstant, -0.01},
      {with("Keys192", {129}, 1, 1, 192, 32), Gates::kConstant, -0.01},
      {with("Keys256", {129}, 1, 1, 256, 32), Gates::kConstant, -0.01},
      {with("WideSlabs", std::vector<std::int32_t>(40, 3), 1, 2, 64, 80)},  // enough value heads for blocks of 8 warps
      {with("WideSlabsKeys128", {66, 1, 0, 65}, 1, 20, 128, 144)},
  };
  for (const int length : {1, 63, 64, 65, 127, 129}) {
    cases.push_back({with("Length" + std::to_string(length), {length}, 1, 1, 32, 16), Gates::kConstant, -0.01});
  }
  const std::pair<std::string, double> constants[] = {{"G0", 0},  {"GTiny", -1e-4}, {"G1", -1},
                                                      {"G5", -5}, {"G20", -20},     {"G500", -500}};
  const std::pair<std::string, double> betas[] = {
      {"Beta0", 0}, {"BetaTiny", 1e-4}, {"Beta1", 1}, {"BetaAny", -1}, {"Beta1_9", 1.9}};
  for (const auto& [beta_name, beta] : betas) {
    for (const auto& [gate_name, g] : constants) {
      cases.push_back({with(gate_name + beta_name, {130}, 1, 1, 32, 16, beta), Gates::kConstant, g});
    }
    cases.push_back({with("OneWipe" + beta_name, {130}, 1, 1, 32, 16, beta), Gates::kOneWipe});
    cases.push_back({with("LogSigmoid" + beta_name, {130}, 1, 1, 32, 16, beta), Gates::kLogSigmoid});
    cases.push_back({with("NearlyEqualKeys" + beta_name, {130}, 1, 1, 32, 16, beta, KeyKind::kNearlyEqual),
                     Gates::kConstant, -0.5});
    cases.push_back({with("NearlyEqualKeysNoGate" + beta_name, {130}, 1, 1, 32, 16, beta, KeyKind::kNearlyEqual),
                     Gates::kConstant, 0});
  }
  return cases;
}

// The chunkwise form in float64, with what tensor cores take as operands rounded to bfloat16: shows how far rounding
// alone takes an implementation from the exact result. Also what a forward pass prepares of each chunk, unrounded.
class ChunkForm {
 public:
  explicit ChunkForm(const GatedDeltaRuleProblem& p) : problem_(p), x_(p.oracle()) {
    out_ = {std::vector<double>(x_.v.size()), x_.initial_state};
    for (std::size_t n = 0; n + 1 < x_.cu_seqlens.size(); ++n) {
      for (std::int64_t begin = x_.cu_seqlens[n], chunk = 0; begin < x_.cu_seqlens[n + 1]; begin += kChunk, ++chunk) {
        const std::int64_t length = std::min<std::int64_t>(kChunk, x_.cu_seqlens[n + 1] - begin);
        const std::int64_t slot = x_.cu_seqlens[n] / kChunk + static_cast<std::int64_t>(n) + chunk;
        for (std::int64_t h = 0; h < x_.value_heads; ++h) {
          run(begin, length, h, out_.final_state.data() + (n * x_.value_heads + h) * x_.key_dim * x_.value_dim);
          slots_.push_back(slot * x_.value_heads + h);
        }
      }
    }
  }

  const oracle::GatedDeltaRule::Outputs& outputs() const { return out_; }
  // Of the chunks in the order of slots(): e^c, e^{c_L - c}, beta, c; and T . G and scale (Q K^T) . G, row by row.
  const std::vector<double>& gates() const { return gates_; }
  const std::vector<double>& solve() const { return solve_; }
  const std::vector<double>& scores() const { return scores_; }
  const std::vector<std::int64_t>& slots() const { return slots_; }

 private:
  static double round(double x) { return static_cast<float>(bfloat16(static_cast<float>(x))); }

  void run(std::int64_t begin, std::int64_t length, std::int64_t h, double* state) {
    const std::int64_t key_dim = x_.key_dim, value_dim = x_.value_dim, head = h / (x_.value_heads / x_.heads);
    const auto row = [&](const std::vector<double>& rows, std::int64_t i) {
      return rows.data() + ((begin + i) * x_.heads + head) * key_dim;
    };
    const auto dot = [&](const double* a, const double* b) {
      double sum = 0;
      for (std::int64_t r = 0; r < key_dim; ++r) sum += a[r] * b[r];
      return sum;
    };
    const auto recall = [&](const double* key, std::int64_t column) {
      double sum = 0;
      for (std::int64_t r = 0; r < key_dim; ++r) sum += key[r] * round(state[r * value_dim + column]);
      return sum;
    };
    std::vector<double> c(length), beta(length), t(kChunk * kChunk), y(length), next(key_dim);
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int64_t gate = (begin + i) * x_.value_heads + h;
      c[i] = (i == 0 ? 0 : c[i - 1]) + std::max(x_.g[gate], -88.0);
      beta[i] = x_.beta[gate];
    }
    for (std::int64_t i = 0; i < kChunk; ++i) {
      t[i * kChunk + i] = 1;
      for (std::int64_t j = 0; j < i && i < length; ++j) {
        const double a = beta[i] * dot(row(x_.k, i), row(x_.k, j));
        for (std::int64_t m = 0; m <= j; ++m) t[i * kChunk + m] -= a * t[j * kChunk + m];
      }
    }
    prepare(c, beta, t, row, dot);
    for (std::int64_t column = 0; column < value_dim; ++column) {
      std::vector<double> news(length), o(length);
      for (std::int64_t i = 0; i < length; ++i) {
        const double v = x_.v[((begin + i) * x_.value_heads + h) * value_dim + column];
        y[i] = round(beta[i] * (v - std::exp(c[i]) * recall(row(x_.k, i), column)));
        for (std::int64_t j = 0; j <= i; ++j) {
          news[i] += round(t[i * kChunk + j] * std::exp(c[i] - c[j])) * y[j];
        }
        o[i] = x_.scale * std::exp(c[i]) * recall(row(x_.q, i), column);
        for (std::int64_t j = 0; j <= i; ++j) {
          o[i] += round(x_.scale * dot(row(x_.q, i), row(x_.k, j)) * std::exp(c[i] - c[j])) * round(news[j]);
        }
        out_.o[((begin + i) * x_.value_heads + h) * value_dim + column] = round(o[i]);
      }
      for (std::int64_t r = 0; r < key_dim; ++r) {
        double& s = state[r * value_dim + column];
        s *= std::exp(c[length - 1]);
        for (std::int64_t i = 0; i < length; ++i)
          s += row(x_.k, i)[r] * round(std::exp(c[length - 1] - c[i]) * news[i]);
      }
    }
  }

  template <class Row, class Dot>
  void prepare(const std::vector<double>& c, const std::vector<double>& beta, const std::vector<double>& t,
               const Row& row, const Dot& dot) {
    const auto length = static_cast<std::int64_t>(c.size());
    const auto decay = [&](std::int64_t i) { return c[std::min(i, length - 1)]; };
    for (std::int64_t i = 0; i < kChunk; ++i) gates_.push_back(std::exp(decay(i)));
    for (std::int64_t i = 0; i < kChunk; ++i) gates_.push_back(std::exp(c.back() - decay(i)));
    for (std::int64_t i = 0; i < kChunk; ++i) gates_.push_back(i < length ? beta[i] : 0);
    for (std::int64_t i = 0; i < kChunk; ++i) gates_.push_back(decay(i));
    for (std::int64_t i = 0; i < kChunk; ++i) {
      for (std::int64_t j = 0; j < kChunk; ++j) {
        const double gate = j <= i ? std::exp(decay(i) - decay(j)) : 0;
        const bool exists = i < length && j < length;
        solve_.push_back(t[i * kChunk + j] * gate);
        scores_.push_back(exists ? x_.scale * dot(row(x_.q, i), row(x_.k, j)) * gate : 0);
      }
    }
  }

  const GatedDeltaRuleProblem& problem_;
  oracle::GatedDeltaRule x_;
  oracle::GatedDeltaRule::Outputs out_;
  std::vector<double> gates_, solve_, scores_;
  std::vector<std::int64_t> slots_;
};

struct ForwardResult {
  Tensor o, final_state;
  GatedDeltaRuleSaved saved;
};

GatedDeltaRuleInputs on_device(GatedDeltaRuleInputs inputs) {
  for (Tensor* tensor :
       {&inputs.q, &inputs.k, &inputs.v, &inputs.g, &inputs.beta, &inputs.cu_seqlens, &inputs.initial_state}) {
    *tensor = tensor->to(device());
  }
  return inputs;
}

ForwardResult run_forward(const GatedDeltaRuleProblem& p) {
  const GatedDeltaRuleInputs inputs = on_device(p.inputs);
  ForwardResult r{filled(inputs.v.shape(), inputs.v.dtype(), std::numeric_limits<float>::quiet_NaN()).to(device()),
                  Tensor::empty(inputs.initial_state.shape()).to(device()),
                  {}};
  gated_delta_rule_forward(inputs, r.o, r.final_state, &r.saved, GatedDeltaRuleAlgorithm::kAuto, Stream(device()));
  r.o = r.o.to(Device());
  r.final_state = r.final_state.to(Device());
  return r;
}

// Rounding operands to bfloat16 gives 3e-3 to 5e-3. Where keys are alike, beta is near 2 and gates do not forget, the
// exact map itself amplifies rounding: there a kernel may be a tenth farther from the oracle than ChunkForm.
double forward_tolerance(std::span<const double> rounded, std::span<const double> exact) {
  return std::max(5e-3, 1.1 * relative_rms_error(rounded, exact));
}

constexpr double kAbsolute = 1e-12;  // what is below counts as zero

// The matrices [kChunk, kChunk] of these slots, of their blocks [slots, value_heads, 10, 16, 16] on and below the
// diagonal.
std::vector<double> squares_of(const Tensor& blocks, const std::vector<std::int64_t>& slots) {
  const std::vector<double> all = to_doubles(blocks.to(Device()));
  std::vector<double> squares;
  for (const std::int64_t slot : slots) {
    for (std::int64_t i = 0; i < kChunk; ++i) {
      for (std::int64_t j = 0; j < kChunk; ++j) {
        const std::int64_t row = i / 16, block = row * (row + 1) / 2 + j / 16;
        squares.push_back(j / 16 > row ? 0 : all[((slot * 10 + block) * 16 + i % 16) * 16 + j % 16]);
      }
    }
  }
  return squares;
}

class GatedDeltaRuleForward : public DeviceTest, public ::testing::WithParamInterface<ForwardCase> {};

TEST_P(GatedDeltaRuleForward, MatchesOracle) {
  const GatedDeltaRuleProblem p = problem_of(GetParam());
  const auto expected = p.oracle().forward();
  const ChunkForm rounded(p);
  const ForwardResult r = run_forward(p);
  EXPECT_TRUE(close(r.o, expected.o, forward_tolerance(rounded.outputs().o, expected.o), kAbsolute)) << "o";
  EXPECT_TRUE(close(r.final_state, expected.final_state,
                    forward_tolerance(rounded.outputs().final_state, expected.final_state), kAbsolute))
      << "final_state";

  const auto& saved = *r.saved.content;
  ASSERT_TRUE(saved.solve) << "not the chunkwise kernels";
  constexpr double kRounding = 0x1p-8;  // half a unit of bfloat16
  const std::int64_t gates = 4 * kChunk;
  std::vector<double> found;
  for (const std::int64_t slot : rounded.slots()) {
    const std::vector<double> all = to_doubles(saved.gates.to(Device()));
    found.insert(found.end(), all.begin() + slot * gates, all.begin() + (slot + 1) * gates);
  }
  EXPECT_TRUE(close(found, rounded.gates(), 1e-6)) << "saved.gates";
  EXPECT_TRUE(close(squares_of(saved.solve, rounded.slots()), rounded.solve(), kRounding)) << "saved.solve";
  EXPECT_TRUE(close(squares_of(saved.scores, rounded.slots()), rounded.scores(), kRounding)) << "saved.scores";
}

INSTANTIATE_TEST_SUITE_P(Table, GatedDeltaRuleForward, ::testing::ValuesIn(forward_cases()),
                         [](const auto& param) { return param.param.c.name; });

class GatedDeltaRuleForwardLimits : public DeviceTest {
 protected:
  static GatedDeltaRuleCase small_case(std::int64_t key_dim = 32) {
    return {.name = "",
            .lengths = {130, 0, 65},
            .heads = 1,
            .value_heads = 2,
            .key_dim = key_dim,
            .value_dim = 80,
            .dtype = DType::kBFloat16};
  }
};

TEST_F(GatedDeltaRuleForwardLimits, SameBitsInAnyOrder) {
  const GatedDeltaRuleProblem p(small_case());
  const ForwardResult a = run_forward(p), b = with_other_schedule([&] { return run_forward(p); });
  EXPECT_TRUE(same_bits(a.o, b.o));
  EXPECT_TRUE(same_bits(a.final_state, b.final_state));
}

TEST_F(GatedDeltaRuleForwardLimits, StateInPlaceAndNothingSaved) {
  const GatedDeltaRuleProblem p(small_case());
  const ForwardResult expected = run_forward(p);
  const GatedDeltaRuleInputs inputs = on_device(p.inputs);
  const Tensor o = Tensor::empty(inputs.v.shape(), inputs.v.dtype(), device());
  gated_delta_rule_forward(inputs, o, inputs.initial_state, nullptr, GatedDeltaRuleAlgorithm::kAuto, Stream(device()));
  EXPECT_TRUE(same_bits(o.to(Device()), expected.o));
  EXPECT_TRUE(same_bits(inputs.initial_state.to(Device()), expected.final_state));
}

TEST_F(GatedDeltaRuleForwardLimits, NoStates) {
  GatedDeltaRuleProblem p(small_case());
  p.inputs.initial_state.fill_zero();
  const ForwardResult expected = run_forward(p);
  GatedDeltaRuleInputs inputs = on_device(p.inputs);
  inputs.initial_state = {};
  const Tensor o = Tensor::empty(inputs.v.shape(), inputs.v.dtype(), device());
  gated_delta_rule_forward(inputs, o, {}, nullptr, GatedDeltaRuleAlgorithm::kChunkwise, Stream(device()));
  EXPECT_TRUE(same_bits(o.to(Device()), expected.o));
}

// A gate that is shut, e^-inf, forgets all and spoils nothing after it.
TEST_F(GatedDeltaRuleForwardLimits, ShutGate) {
  GatedDeltaRuleProblem p(small_case());
  for (const int token : {0, 70, 71, 150})
    p.inputs.g.data<float>()[token * 2] = -std::numeric_limits<float>::infinity();
  const auto expected = p.oracle().forward();
  const ForwardResult r = run_forward(p);
  EXPECT_TRUE(close(r.o, expected.o, 5e-3));
  EXPECT_TRUE(close(r.final_state, expected.final_state, 5e-3));
}

TEST_F(GatedDeltaRuleForwardLimits, ChunkStates) {
  for (const std::int64_t key_dim : {32, 128, 256}) {
    GatedDeltaRuleProblem p(small_case(key_dim));
    GatedDeltaRuleInputs inputs = on_device(p.inputs);
    const ForwardResult forward = run_forward(p);
    const Shape shape{p.c.tokens() / kChunk + 3, 2, 80, key_dim};
    const Tensor states = Tensor::empty(shape, DType::kBFloat16, device());
    states.fill_zero();
    kernels::cuda::gated_delta_rule::chunk_states(inputs, *forward.saved.content, states, Stream(device()));
    const std::vector<double> actual = to_doubles(states.to(Device()));

    // The state that a chunk starts from is the final state of what comes before.
    oracle::GatedDeltaRule before = p.oracle();
    const std::int64_t size = 2 * key_dim * 80;
    const auto expect_state = [&](std::int64_t slot, std::int64_t sequence, std::int32_t begin, std::int32_t end) {
      before.cu_seqlens = {begin, end};
      const std::vector<double> all = to_doubles(p.inputs.initial_state);
      before.initial_state.assign(all.begin() + sequence * size, all.begin() + (sequence + 1) * size);
      std::vector<double> found(size);
      for (std::int64_t i = 0; i < size; ++i) {
        const std::int64_t head = i / (key_dim * 80), key = i / 80 % key_dim, value = i % 80;
        found[i] = actual[slot * size + (head * 80 + value) * key_dim + key];
      }
      EXPECT_TRUE(close(found, before.forward().final_state, 5e-3)) << "slot " << slot << ", key_dim " << key_dim;
    };
    expect_state(0, 0, 0, 0);
    expect_state(1, 0, 0, 64);
    expect_state(2, 0, 0, 128);
    expect_state(4, 2, 130, 130);
    expect_state(5, 2, 130, 194);
  }
}

TEST_F(GatedDeltaRuleForwardLimits, OtherShapesRunToo) {
  GatedDeltaRuleCase odd = small_case(40);
  odd.value_dim = 24;
  const GatedDeltaRuleProblem p(odd);
  const auto expected = p.oracle().forward();
  const ForwardResult r = run_forward(p);
  EXPECT_FALSE(r.saved.content->solve);
  EXPECT_TRUE(close(r.o, expected.o, 5e-3));
  EXPECT_TRUE(close(r.final_state, expected.final_state, 5e-3));
}

}  // namespace
}  // namespace mudelta::testing
