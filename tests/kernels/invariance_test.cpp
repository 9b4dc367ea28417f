// What the results of the ops must not depend on: the number of threads, the run, and (beyond rounding) the SIMD
// target that the CPU selects. The baseline target has vectors of one lane, so it also checks the handling of lengths
// that are no multiple of the others' vectors.

#include <gmock/gmock.h>
#include <hwy/highway.h>
#include <omp.h>

#include <cmath>

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gates.h"
#include "kernels/l2_norm.h"
#include "kernels/optimizer_update.h"
#include "kernels/reduce.h"
#include "kernels/rms_norm.h"
#include "kernels/short_conv.h"
#include "kernels/swiglu.h"
#include "tests/support/op_case.h"

namespace mudelta::testing {
namespace {

using namespace mudelta::kernels;

struct Result {
  std::string name;
  Tensor value;
};

// Runs every op, forward and backward, on inputs that fill several blocks of rows, tokens and channels.
std::vector<Result> run_all(DType dtype) {
  std::vector<Result> results;
  const auto out = [&](const char* name, const Shape& shape, DType type) {
    results.push_back({name, filled(shape, type, 0.5f)});
    return results.back().value;
  };
  const std::int64_t rows = 201, dim = 299, heads = 5;
  const Shape shape{rows, dim};
  const DType f32 = DType::kFloat32;
  const auto normal = [&](const char* name, double std = 1) { return random_normal(shape, name, std, 0, 1, dtype); };
  const Tensor x = normal("x"), gate = normal("gate", 3), dy = normal("dy"), gain = random_normal({dim}, "gain");

  const Tensor unit = out("l2 y", shape, dtype), l2_rstd = out("l2 rstd", {rows}, f32);
  l2_norm_forward(x, 1e-6f, unit, l2_rstd, {});
  l2_norm_backward(unit, l2_rstd, dy, out("l2 dx", shape, dtype), {});

  const Tensor rstd = out("rms rstd", {rows}, f32);
  rms_norm_forward(x, gain, 1e-6f, out("rms y", shape, dtype), rstd, {});
  rms_norm_backward(x, gain, rstd, dy, gate, out("rms dx", shape, dtype), out("rms dweight", {dim}, f32), {});
  gated_rms_norm_forward(x, gate, gain, 1e-6f, out("gated rms y", shape, dtype), rstd, {});
  gated_rms_norm_backward(x, gate, gain, rstd, dy, out("gated rms dx", shape, dtype),
                          out("gated rms dgate", shape, dtype), out("gated rms dweight", {dim}, f32), {});

  swiglu_forward(gate, x, out("swiglu y", shape, dtype), {});
  swiglu_backward(gate, x, dy, out("swiglu dgate", shape, dtype), out("swiglu dup", shape, dtype), {});

  const Shape per_head{4001, heads};
  const Tensor z = random_normal(per_head, "z", 3), head = random_normal({heads}, "head");
  gates_forward({z, z, head, head}, out("g", per_head, f32), out("beta", per_head, f32), {});
  gates_backward({z, z, head, head}, z, z,
                 {out("dz_a", per_head, f32), out("dz_b", per_head, f32), out("da_log", {heads}, f32),
                  out("ddt_bias", {heads}, f32)},
                 {});

  const std::int32_t bounds[] = {0, 2, 2, 130, 201};
  const Tensor state = random_normal({4, 3, dim}, "state");
  const ShortConvInputs conv{x, random_normal({dim, 4}, "taps"), Tensor::from(bounds, {5}), state};
  short_conv_forward(conv, out("conv y", shape, dtype), out("conv state", state.shape(), f32), {});
  short_conv_backward(
      conv, dy,
      {out("conv dx", shape, dtype), out("conv dweight", {dim, 4}, f32), out("conv dstate", state.shape(), f32)}, {});

  const Shape heads_of_conv{rows, 13, 23};  // 13 x 23 = dim
  const Tensor conv_rstd = out("conv rstd", {rows, 13}, f32), conv_unit = out("conv unit", heads_of_conv, dtype);
  short_conv_l2_norm_forward(conv, 1e-6f, conv_unit, conv_rstd, {}, {});
  short_conv_l2_norm_backward(conv, conv_unit, conv_rstd, dy.view(heads_of_conv),
                              {out("conv unit dx", shape, dtype), out("conv unit dweight", {dim, 4}, f32),
                               out("conv unit dstate", state.shape(), f32)},
                              {});

  const Tensor tokens = Tensor::empty({rows}, DType::kInt32);
  for (std::int32_t t = 0; t < rows; ++t) tokens.data<std::int32_t>()[t] = t * t % 37;
  const Tensor dy_wide = random_normal(shape, "dy wide");
  embedding_forward(x, tokens, out("embedding y", shape, f32), {});
  embedding_backward(tokens, dy_wide, out("embedding dtable", {37, dim}, f32), {});
  const CrossEntropyInputs head_inputs{x, random_normal({37, dim}, "head", 0.1, 0, 1, dtype), tokens, 0.7f};
  cross_entropy_forward_backward(head_inputs, 0.3f, out("losses", {rows}, f32), out("dhidden", shape, dtype),
                                 out("dhead", {37, dim}, f32), {});

  const std::int64_t count = rows * dim;
  const Tensor gradient = dy_wide.view({count});
  adamw_update({.weight = out("adamw w", {count}, f32),
                .exp_avg = out("adamw m", {count}, f32),
                .exp_avg_sq = out("adamw v", {count}, f32),
                .gradient = gradient,
                .lr = 0.1f,
                .decay = 0.01f},
               {});
  sgd_update({.weight = out("sgd w", {count}, f32),
              .momentum_buffer = out("sgd u", {count}, f32),
              .gradient = gradient,
              .lr = 0.1f,
              .momentum = 0.9f,
              .nesterov = true},
             {});
  add_to(x, out("add_to", shape, f32), {});
  scale(out("scale", shape, f32), 0.3f, {});
  convert(dy_wide, out("convert", shape, dtype), {});
  return results;
}

// Puts the number of threads and the SIMD target back.
struct Restore {
  int threads = omp_get_max_threads();
  ~Restore() {
    omp_set_num_threads(threads);
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

void use_target(std::int64_t target) {
  hwy::SetSupportedTargetsForTest(target);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

TEST(Invariance, ThreadsAndRunsDoNotChangeABit) {
  const Restore restore;
  for (const DType dtype : kFloatTypes) {
    omp_set_num_threads(1);
    const auto expected = run_all(dtype);
    for (const int threads : {1, 2, 3, 7}) {
      omp_set_num_threads(threads);
      const auto actual = run_all(dtype);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_TRUE(same_bits(actual[i].value, expected[i].value)) << expected[i].name << " with " << threads;
      }
    }
  }
}

TEST(Invariance, SimdTargetsAgree) {
  const Restore restore;
  for (const DType dtype : kFloatTypes) {
    use_target(HWY_STATIC_TARGET);
    const auto expected = run_all(dtype);
    use_target(0);
    for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
      use_target(target);
      const auto actual = run_all(dtype);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const double limit = expected[i].value.dtype() == DType::kBFloat16 ? 1e-3
                             : dtype == DType::kBFloat16                   ? 1e-4
                                                                           : 2e-6;
        EXPECT_TRUE(close(actual[i].value, expected[i].value, limit))
            << expected[i].name << ", " << hwy::TargetName(target);
      }
      use_target(0);
    }
  }
}

TEST(Invariance, SumsHaveTheSameBitsOnEverySimdTarget) {
  const Restore restore;
  for (const DType dtype : kFloatTypes) {
    const Tensor x = random_normal({50021}, "x", 1, 0, 1, dtype);
    use_target(HWY_STATIC_TARGET);
    const double expected = sum(x, {}), expected_squares = sum_of_squares(x, {});
    use_target(0);
    for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
      use_target(target);
      EXPECT_EQ(sum(x, {}), expected) << hwy::TargetName(target);
      EXPECT_EQ(sum_of_squares(x, {}), expected_squares) << hwy::TargetName(target);
      use_target(0);
    }
  }
}

// g = -softplus(z) and beta = sigmoid(z) over the whole range of float32's exponent.
TEST(Invariance, ElementaryFunctionsAreAccurateOnEverySimdTarget) {
  const Restore restore;
  constexpr std::int64_t kCount = 40001;
  const Tensor z = Tensor::empty({kCount, 1}), zero = Tensor::zeros({1}), g = filled(z.shape()),
               beta = filled(z.shape());
  for (std::int64_t i = 0; i < kCount; ++i) {
    z.data<float>()[i] = -87 + 174 * static_cast<float>(i) / static_cast<float>(kCount - 1);
  }
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    use_target(target);
    gates_forward({z, z, zero, zero}, g, beta, {});
    double worst_softplus = 0, worst_sigmoid = 0;
    for (std::int64_t i = 0; i < kCount; ++i) {
      const double x = z.data<float>()[i];
      const double softplus = std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
      const double sigmoid = 1 / (1 + std::exp(-x));
      worst_softplus = std::max(worst_softplus, std::abs(-g.data<float>()[i] / softplus - 1));
      worst_sigmoid = std::max(worst_sigmoid, std::abs(beta.data<float>()[i] / sigmoid - 1));
    }
    EXPECT_LT(worst_softplus, 1e-6) << hwy::TargetName(target);
    EXPECT_LT(worst_sigmoid, 1e-6) << hwy::TargetName(target);
    use_target(0);
  }
}

TEST(Invariance, NanIsNeverHidden) {
  const float all_ones = std::bit_cast<float>(0x7fffffffu);  // a NaN that rounding up would turn into -0
  const float values[] = {1, all_ones, 2};
  const Tensor z = Tensor::from(values, {3, 1}), zero = Tensor::zeros({1}), g = filled({3, 1}), beta = filled({3, 1});
  gates_forward({z, z, zero, zero}, g, beta, {});
  EXPECT_TRUE(std::isnan(g.data<float>()[1]));
  EXPECT_TRUE(std::isnan(beta.data<float>()[1]));
  const Tensor narrow = filled({3, 1}, DType::kBFloat16);
  convert(z, narrow, {});
  EXPECT_TRUE(std::isnan(to_doubles(narrow)[1]));
  const Tensor hidden = Tensor::from(values, {1, 3}), weight = random_normal({5, 3}, "w"), losses = filled({1});
  cross_entropy_forward({hidden, weight, Tensor::zeros({1}, DType::kInt32)}, losses, {});
  EXPECT_TRUE(std::isnan(losses.data<float>()[0]));
}

// Channels past the first slab give what they give alone.
TEST(Invariance, ConvolutionTreatsEachChannelAlone) {
  const std::int64_t tokens = 150, channels = 300, first = 250, count = channels - first;
  const std::int32_t bounds[] = {0, 3, 90, 150};
  const auto columns = [&](const Tensor& x) {
    const std::int64_t rows = x.numel() / channels;
    const Tensor part = Tensor::empty({rows, count});
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t c = 0; c < count; ++c) {
        part.data<float>()[row * count + c] = x.data<float>()[row * channels + first + c];
      }
    }
    return part;
  };
  const Tensor x = random_normal({tokens, channels}, "x"), dy = random_normal({tokens, channels}, "dy");
  const Tensor weight = random_normal({channels, 4}, "w"), state = random_normal({3, 3, channels}, "s");
  const Tensor cu_seqlens = Tensor::from(bounds, {4}), y = filled(x.shape()), dx = filled(x.shape());
  const Tensor final_state = filled(state.shape()), dweight = filled(weight.shape());
  short_conv_forward({x, weight, cu_seqlens, state}, y, final_state, {});
  short_conv_backward({x, weight, cu_seqlens, state}, dy, {dx, dweight, {}}, {});

  const ShortConvInputs part{columns(x), weight.slice(first, channels), cu_seqlens, columns(state).view({3, 3, count})};
  const Tensor part_y = filled({tokens, count}), part_dx = filled({tokens, count}), part_state = filled({3, 3, count});
  const Tensor part_dweight = filled({count, 4});
  short_conv_forward(part, part_y, part_state, {});
  short_conv_backward(part, columns(dy), {part_dx, part_dweight, {}}, {});
  EXPECT_TRUE(same_bits(columns(y), part_y));
  EXPECT_TRUE(same_bits(columns(dx), part_dx));
  EXPECT_TRUE(same_bits(columns(final_state).view(part_state.shape()), part_state));
  EXPECT_TRUE(same_bits(dweight.slice(first, channels).clone(), part_dweight));
}

}  // namespace
}  // namespace mudelta::testing
