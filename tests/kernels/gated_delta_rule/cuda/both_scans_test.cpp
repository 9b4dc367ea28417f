#include <gtest/gtest.h>

#include "kernels/gated_delta_rule/cuda/launches.h"
#include "tests/kernels/cuda/on_device.h"
#include "tests/kernels/gated_delta_rule/cuda/device_cases.h"

// The states of chunks and their gradients, by one launch or by two.
namespace mudelta::testing {
namespace {

namespace cuda = kernels::cuda::gated_delta_rule;
using kernels::GatedDeltaRuleInputs;

struct Scans {
  Tensor states, dstates, dy, dinitial_state;
};

Scans run_scans(const GatedDeltaRuleProblem& p, int segment_chunks, bool one_launch) {
  const Device on = device();
  const Stream stream(on);
  GatedDeltaRuleInputs inputs = p.inputs;
  for (Tensor* tensor :
       {&inputs.q, &inputs.k, &inputs.v, &inputs.g, &inputs.beta, &inputs.cu_seqlens, &inputs.initial_state}) {
    *tensor = tensor->to(on);
  }
  const auto zeros = [&](const Shape& shape, DType dtype) {
    const Tensor tensor = Tensor::empty(shape, dtype, on);
    tensor.fill_zero();
    return tensor;
  };
  cuda::Saved saved;
  cuda::chunkwise_forward(inputs, zeros(inputs.v.shape(), DType::kBFloat16), Tensor(), saved, true, segment_chunks,
                          stream);

  const Tensor d_o = p.d_o.to(on), dfinal_state = p.dfinal_state.to(on);
  Tensor dlast = dfinal_state;
  if (segment_chunks > 0) {
    dlast = zeros(saved.segment_states.shape(), DType::kFloat32);
    cuda::segment_dstates(inputs, saved, d_o, dfinal_state, dlast, stream);
    cuda::carry_states(inputs, saved, dlast, cuda::Direction::kBackward, stream);
  }
  const cuda::KernelSizes sizes = cuda::sizes_of(inputs);
  const Scans r{.states = zeros({sizes.slots(), sizes.value_heads, sizes.value_dim, sizes.key_dim}, DType::kBFloat16),
                .dstates = zeros({sizes.slots(), sizes.value_heads, sizes.value_dim, sizes.key_dim}, DType::kBFloat16),
                .dy = zeros(inputs.v.shape(), DType::kBFloat16),
                .dinitial_state = zeros(inputs.initial_state.shape(), DType::kFloat32)};
  if (one_launch) {
    cuda::both_scans(inputs, saved, d_o, dlast, r.states, r.dstates, r.dy, r.dinitial_state, stream);
  } else {
    cuda::chunk_states(inputs, saved, r.states, stream);
    cuda::backward_scan(inputs, saved, d_o, dlast, r.dstates, r.dy, r.dinitial_state, stream);
  }
  return {.states = r.states.to(Device()),
          .dstates = r.dstates.to(Device()),
          .dy = r.dy.to(Device()),
          .dinitial_state = r.dinitial_state.to(Device())};
}

void expect_same_scans(const Scans& a, const Scans& b) {
  EXPECT_TRUE(same_bits(a.states, b.states));
  EXPECT_TRUE(same_bits(a.dstates, b.dstates));
  EXPECT_TRUE(same_bits(a.dy, b.dy));
  EXPECT_TRUE(same_bits(a.dinitial_state, b.dinitial_state));
}

using GatedDeltaRuleBothScans = GatedDeltaRuleDeviceTest;

TEST_P(GatedDeltaRuleBothScans, GiveTheBitsOfTwoLaunches) {
  const GatedDeltaRuleProblem p(GetParam());
  for (const int segment_chunks : {0, 2}) {
    SCOPED_TRACE(segment_chunks);
    const Scans expected = run_scans(p, segment_chunks, false);
    expect_same_scans(run_scans(p, segment_chunks, true), expected);
    expect_same_scans(with_other_schedule([&] { return run_scans(p, segment_chunks, true); }), expected);
  }
}

std::vector<GatedDeltaRuleCase> both_scans_cases() {
  constexpr DType kType = DType::kBFloat16;
  const auto weak = GateKind::kWeak;
  const auto keys = KeyKind::kRandom;
  std::vector<std::int32_t> many(81);  // enough sequences for chunk_states by blocks of 8 warps
  many[40] = 193;
  return {
      {"NoSequences", {}, 1, 1, 32, 16, weak, keys, -1, kType},
      {"OnlyEmptySequences", {0, 0}, 1, 2, 32, 16, weak, keys, -1, kType},
      {"Documents", {63, 0, 1, 64, 2, 0, 0, 65, 127, 129, 0, 257}, 1, 1, 32, 32, weak, keys, -1, kType},
      {"Groups", {193, 0, 70}, 2, 4, 64, 64, weak, keys, -1, kType},
      {"WideSlabs", many, 1, 1, 64, 80, weak, keys, -1, kType},
      {"Keys96", {193}, 1, 1, 96, 80, weak, keys, -1, kType},
      {"Keys128", {3, 193}, 1, 1, 128, 144, weak, keys, -1, kType},
      {"Keys192", {193}, 1, 1, 192, 16, weak, keys, -1, kType},
      {"Keys256", {193}, 1, 1, 256, 80, weak, keys, -1, kType},
  };
}

INSTANTIATE_TEST_SUITE_P(Table, GatedDeltaRuleBothScans, ::testing::ValuesIn(both_scans_cases()),
                         [](const auto& param) { return param.param.name; });

TEST(GatedDeltaRuleLaunchChoice, OneWhereEitherScanLeavesMultiprocessorsIdle) {
  const auto one_launch = [](int sequences, int value_heads, int value_dim, int segment_rows) {
    return cuda::choose_one_launch({.tokens = 2048 * sequences,
                                    .sequences = sequences,
                                    .heads = value_heads,
                                    .value_heads = value_heads,
                                    .key_dim = 128,
                                    .value_dim = value_dim},
                                   segment_rows, 132);
  };
  const int none = cuda::segment_rows({});
  EXPECT_TRUE(one_launch(1, 16, 128, none));    // 32 blocks
  EXPECT_TRUE(one_launch(1, 131, 64, none));    // 131
  EXPECT_FALSE(one_launch(1, 132, 64, none));   // 132
  EXPECT_FALSE(one_launch(16, 16, 128, none));  // a dense batch
  EXPECT_TRUE(one_launch(1, 8, 128, 512));      // 5 slots of segments: 80
  EXPECT_FALSE(one_launch(1, 8, 128, 256));     // 9: 144
}

}  // namespace
}  // namespace mudelta::testing
