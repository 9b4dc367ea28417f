#include <gtest/gtest.h>

#include <algorithm>
#include <numbers>
#include <string>
#include <vector>

#include "kernels/gated_delta_rule/cuda/launches.h"
#include "tests/kernels/cuda/on_device.h"
#include "tests/kernels/gated_delta_rule/cuda/device_cases.h"
#include "tests/support/random.h"

// The chunkwise kernels with sequences cut into segments.
namespace mudelta::testing {
namespace {

namespace cuda = kernels::cuda::gated_delta_rule;
using kernels::GatedDeltaRuleAlgorithm;
using kernels::GatedDeltaRuleInputs;
using kernels::GatedDeltaRuleSaved;

DeviceResults run_in_segments(const GatedDeltaRuleProblem& p, int segment_chunks, bool keep_states = true) {
  return run_on_device(p, [=](const GatedDeltaRuleInputs& inputs, const Tensor& o, const Tensor& final_state,
                              GatedDeltaRuleSaved& saved, Stream stream) {
    cuda::chunkwise_forward(inputs, o, final_state, *saved.content, keep_states, segment_chunks, stream);
  });
}

std::vector<GatedDeltaRuleCase> segment_cases() {
  constexpr DType kType = DType::kBFloat16;
  const auto typical = GateKind::kTypical, weak = GateKind::kWeak;
  const auto keys = KeyKind::kRandom, alike = KeyKind::kNearlyEqual;
  const std::vector<std::int32_t> documents = {63, 0, 1, 64, 2, 0, 0, 65, 127, 129, 0, 257};
  std::vector<std::int32_t> many(81);  // enough segments for blocks of 8 warps, though nearly all are empty
  many[40] = 193;
  std::vector<std::int32_t> fewer(34);  // enough with two slabs
  fewer[20] = 193;
  std::vector<GatedDeltaRuleCase> cases = {
      {"NoSequences", {}, 1, 1, 32, 16, typical, keys, -1, kType},
      {"OnlyEmptySequences", {0, 0}, 1, 2, 32, 16, typical, keys, -1, kType},
      {"Documents", documents, 1, 1, 32, 32, typical, keys, -1, kType},
      {"DocumentsNoGate", documents, 1, 1, 32, 16, GateKind::kNone, keys, -1, kType},
      {"Groups", {257, 0, 70}, 2, 4, 32, 32, weak, keys, -1, kType},
      {"WideSlabs", many, 1, 1, 64, 80, weak, keys, -1, kType},
      {"WideSlabs128", fewer, 1, 1, 128, 144, weak, keys, -1, kType},
      {"Groups8", {193}, 1, 8, 32, 32, weak, keys, -1, kType},
      {"Keys192Groups", {193}, 1, 2, 192, 16, weak, keys, -1, kType},
      {"Keys64", {193}, 1, 1, 64, 64, weak, keys, -1, kType},
      {"Keys96", {193}, 1, 1, 96, 80, weak, keys, -1, kType},
      {"Keys128", {3, 193}, 1, 1, 128, 144, weak, keys, -1, kType},
      {"Keys192", {193}, 1, 1, 192, 16, weak, keys, -1, kType},
      {"Keys256", {193}, 1, 1, 256, 16, weak, keys, -1, kType},
      {"NearlyEqualKeys", {257}, 1, 1, 32, 16, weak, alike, 0.5, kType},
      {"NearlyEqualKeysNoGate", {257}, 1, 1, 32, 16, GateKind::kNone, alike, 0.5, kType},
      {"StrongGate", {257}, 1, 1, 32, 16, GateKind::kStrong, keys, 1, kType},
      {"OneWipe", {257}, 1, 1, 32, 16, GateKind::kOneWipe, keys, 1, kType},
      {"Beta1_9", {257}, 1, 1, 32, 16, weak, keys, 1.9, kType},
      {"Beta0", {257}, 1, 1, 32, 16, weak, keys, 0, kType},
  };
  for (const int length : {63, 64, 65, 127, 129, 192, 385}) {
    cases.push_back({"Length" + std::to_string(length), {length}, 1, 1, 32, 16, weak, keys, -1, kType});
  }
  return cases;
}

// Within `limit` of what is exact, or, where the exact map itself amplifies rounding, a tenth farther than `whole`, the
// result without segments; and from that, which rounds apart from it, no farther than by both roundings.
void expect_close(const Tensor& actual, const Tensor& whole, const std::vector<double>& exact, double limit) {
  constexpr double kAbsolute = 1e-12;  // decays below 2^-60 count as zero
  limit = std::max(limit, 1.1 * relative_rms_error(to_doubles(whole), exact));
  EXPECT_TRUE(close(actual, exact, limit, kAbsolute));
  EXPECT_TRUE(close(actual, whole, std::numbers::sqrt2 * limit, kAbsolute)) << "from that without segments";
}

using GatedDeltaRuleSegments = GatedDeltaRuleDeviceTest;

TEST_P(GatedDeltaRuleSegments, MatchesOracle) {
  const GatedDeltaRuleProblem p(GetParam());
  const GatedDeltaRuleTolerances limits = chunkwise_tolerances(p.c);
  const auto outputs = p.oracle().forward();
  const auto gradients = p.oracle().backward(to_doubles(p.d_o), to_doubles(p.dfinal_state));
  const DeviceResults whole = run_in_segments(p, 0);
  for (const int segment_chunks : {1, 2, 3}) {
    SCOPED_TRACE(segment_chunks);
    const DeviceResults r = run_in_segments(p, segment_chunks);
    const auto expect = [&](const char* name, const Tensor& actual, const Tensor& without_segments,
                            const std::vector<double>& exact, double limit) {
      SCOPED_TRACE(name);
      expect_close(actual, without_segments, exact, limit);
    };
    const auto &g = r.gradients, &w = whole.gradients;
    expect("o", r.o, whole.o, outputs.o, limits.output);
    expect("final_state", r.final_state, whole.final_state, outputs.final_state, limits.output);
    expect("dq", g.dq, w.dq, gradients.dq, limits.gradient);
    expect("dk", g.dk, w.dk, gradients.dk, limits.gradient);
    expect("dv", g.dv, w.dv, gradients.dv, limits.gradient);
    expect("dg", g.dg, w.dg, gradients.dg, limits.gate_gradient);
    expect("dbeta", g.dbeta, w.dbeta, gradients.dbeta, limits.gate_gradient);
    expect("dinitial_state", g.dinitial_state, w.dinitial_state, gradients.dinitial_state, limits.gradient);
    if (segment_chunks == 2) expect_same_gradients(run_in_segments(p, segment_chunks, false), r);
  }
}

INSTANTIATE_TEST_SUITE_P(Table, GatedDeltaRuleSegments, ::testing::ValuesIn(segment_cases()),
                         [](const auto& param) { return param.param.name; });

using GatedDeltaRuleSegmentLimits = DeviceTest;

GatedDeltaRuleProblem small_problem() {
  return GatedDeltaRuleProblem({.name = "",
                                .lengths = {257, 0, 130, 65},
                                .heads = 1,
                                .value_heads = 2,
                                .key_dim = 32,
                                .value_dim = 16,
                                .gates = GateKind::kWeak,
                                .dtype = DType::kBFloat16});
}

void expect_same_results(const DeviceResults& a, const DeviceResults& b) {
  EXPECT_TRUE(same_bits(a.o, b.o));
  EXPECT_TRUE(same_bits(a.final_state, b.final_state));
  expect_same_gradients(a, b);
  EXPECT_TRUE(same_bits(a.gradients.dinitial_state, b.gradients.dinitial_state));
}

// The second and last segment starts from the very state, and the first ends with the very gradient, of the whole.
TEST_F(GatedDeltaRuleSegmentLimits, OneAndTwoSegmentsChangeNothing) {
  const GatedDeltaRuleProblem p = small_problem();
  const DeviceResults whole = run_in_segments(p, 0);
  for (const int segment_chunks : {3, 5}) expect_same_results(run_in_segments(p, segment_chunks), whole);
}

TEST_F(GatedDeltaRuleSegmentLimits, SameBitsInAnyOrder) {
  const GatedDeltaRuleProblem p = small_problem();
  const auto run = [&] { return run_in_segments(p, 1); };
  expect_same_results(run(), with_other_schedule(run));
}

TEST_F(GatedDeltaRuleSegmentLimits, StatesThatAreNotGivenAreZero) {
  GatedDeltaRuleProblem p = small_problem();
  p.inputs.initial_state.fill_zero();
  p.dfinal_state.fill_zero();
  const DeviceResults zeros = run_in_segments(p, 1);
  p.inputs.initial_state = p.dfinal_state = Tensor();
  const DeviceResults none = run_in_segments(p, 1);
  EXPECT_TRUE(same_bits(none.o, zeros.o));
  expect_same_gradients(none, zeros);
}

TEST_F(GatedDeltaRuleSegmentLimits, FinalStateInPlace) {
  const GatedDeltaRuleProblem p = small_problem();
  const DeviceResults expected = run_in_segments(p, 1);
  const DeviceResults r = run_on_device(p, [](const GatedDeltaRuleInputs& inputs, const Tensor& o,
                                              const Tensor& final_state, GatedDeltaRuleSaved& saved, Stream stream) {
    cuda::chunkwise_forward(inputs, o, inputs.initial_state, *saved.content, true, 1, stream);
    gpu::copy(final_state.raw(), inputs.initial_state.raw(), final_state.num_bytes(), stream.handle());
  });
  expect_same_results(r, expected);
}

// Through the public function, which cuts what is long and narrow enough for any GPU.
TEST_F(GatedDeltaRuleSegmentLimits, OneLongSequence) {
  const GatedDeltaRuleProblem p({.name = "",
                                 .lengths = {2050},
                                 .key_dim = 32,
                                 .value_dim = 16,
                                 .gates = GateKind::kWeak,
                                 .dtype = DType::kBFloat16});
  const DeviceResults r = run_on_device(p, GatedDeltaRuleAlgorithm::kAuto);
  EXPECT_GT(r.saved.content->segment_chunks, 0);
  expect_oracle_outputs(p, r, chunkwise_tolerances(p.c));
  expect_oracle_gradients(p, r, chunkwise_tolerances(p.c));
}

TEST(GatedDeltaRuleSegmentChoice, OnlyWhereBlocksAreFewAndSequencesLong) {
  const auto chunks = [](int tokens, int sequences, int value_heads, int value_dim = 128) {
    return cuda::choose_segment_chunks({.tokens = tokens,
                                        .sequences = sequences,
                                        .heads = value_heads,
                                        .value_heads = value_heads,
                                        .key_dim = 128,
                                        .value_dim = value_dim},
                                       132);
  };
  EXPECT_EQ(chunks(0, 0, 16), 0);
  EXPECT_EQ(chunks(0, 1, 16), 0);
  EXPECT_EQ(chunks(32768, 16, 16), 0);   // a dense batch
  EXPECT_EQ(chunks(32768, 1, 64), 0);    // two blocks a multiprocessor as it is
  EXPECT_EQ(chunks(1024, 1, 1), 0);      // short
  EXPECT_EQ(chunks(32768, 1000, 1), 0);  // short on average
  EXPECT_EQ(chunks(32768, 1, 1), 16);
  EXPECT_EQ(chunks(32768, 1, 16), 64);   // 8 segments: 256 blocks, two on each of 128 multiprocessors
  EXPECT_EQ(chunks(32768, 1, 32), 128);  // 4
  EXPECT_EQ(chunks(32768, 1, 16, 256), 128);
  EXPECT_EQ(chunks(2048, 1, 1), 4);
}

// Matrices [slots, value_heads, rows, columns].
struct Matrices {
  std::vector<double> elements;
  std::int64_t value_heads, rows, columns;

  double* of(std::int64_t slot, std::int64_t head) {
    return elements.data() + (slot * value_heads + head) * rows * columns;
  }
};

// to += m x, or m^T x.
void add_product(double* to, const double* m, bool transposed, const double* x, std::int64_t rows,
                 std::int64_t columns) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t k = 0; k < rows; ++k) {
      for (std::int64_t j = 0; j < columns; ++j) {
        to[i * columns + j] += m[transposed ? k * rows + i : i * rows + k] * x[k * columns + j];
      }
    }
  }
}

TEST_F(GatedDeltaRuleSegmentLimits, CarriesStatesInFloat32) {
  constexpr std::int64_t kHeads = 2, kKeyDim = 96, kValueDim = 48;
  const std::vector<std::int32_t> offsets{0, 330, 330, 458, 700};  // 6, 0, 2 and 4 segments of a chunk
  constexpr std::int64_t kSlots = 700 / 64 + 4;
  const Tensor transitions = random_normal({kSlots, kHeads, kKeyDim, kKeyDim}, "transitions", 0.1);
  const Tensor states = random_normal({kSlots, kHeads, kKeyDim, kValueDim}, "states");
  const Tensor values = Tensor::empty({700, kHeads, kValueDim}, DType::kBFloat16, device());
  const Tensor keys = Tensor::empty({700, kHeads, kKeyDim}, DType::kBFloat16, device());
  const GatedDeltaRuleInputs inputs{.q = keys, .v = values, .cu_seqlens = Tensor::from(offsets, {5}).to(device())};
  const cuda::Saved saved{.segment_chunks = 1, .transitions = transitions.to(device())};

  for (const auto direction : {cuda::Direction::kForward, cuda::Direction::kBackward}) {
    const bool backward = direction == cuda::Direction::kBackward;
    Matrices expected{to_doubles(states), kHeads, kKeyDim, kValueDim};
    Matrices m{to_doubles(transitions), kHeads, kKeyDim, kKeyDim};
    const auto carry = [&](std::int64_t slot) {
      for (std::int64_t h = 0; h < kHeads; ++h) {
        add_product(expected.of(slot + (backward ? -1 : 1), h), m.of(slot, h), backward, expected.of(slot, h), kKeyDim,
                    kValueDim);
      }
    };
    std::vector<std::int64_t> middle{1, 2, 3, 4, 458 / 64 + 3 + 1, 458 / 64 + 3 + 2};
    if (backward) std::ranges::reverse(middle);
    for (const std::int64_t slot : middle) carry(slot);

    const Tensor carried = states.clone().to(device());
    cuda::carry_states(inputs, saved, carried, direction, Stream(device()));
    EXPECT_TRUE(close(carried.to(Device()), expected.elements, 1e-6)) << (backward ? "backward" : "forward");
  }
}

}  // namespace
}  // namespace mudelta::testing
