#include "kernels/short_conv.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>

#include "tests/support/errors.h"
#include "tests/support/op_case.h"

namespace mudelta::testing {
namespace {

using namespace mudelta::kernels;
using ::testing::HasSubstr;

struct Case {
  std::vector<std::int32_t> cu_seqlens;
  std::int64_t channels, taps;
  bool initial = false;
};
const Case kCases[] = {
    {{0}, 3, 4},
    {{0, 0}, 3, 4},
    {{0, 1}, 1, 4},
    {{0, 9}, 5, 4},
    {{0, 2, 2, 3, 11, 14}, 18, 4},  // an empty sequence, and ones shorter than the taps
    {{0, 5, 6}, 33, 2},
    {{0, 4, 7}, 16, 1},
    {{0, 3, 9}, 7, 6},
    {{0, 2, 2, 3, 11}, 18, 4, true},
    {{0, 40, 75}, 70, 4, true},
};

Tensor cu_seqlens_of(const Case& c) {
  return Tensor::from(std::span<const std::int32_t>(c.cu_seqlens), {static_cast<std::int64_t>(c.cu_seqlens.size())});
}
std::int64_t sequences_of(const Case& c) { return static_cast<std::int64_t>(c.cu_seqlens.size()) - 1; }

// x [tokens, channels], w [channels, taps], rows [sequences, taps - 1, channels] (or empty).
Vector conv(const Case& c, const Vector& x, const Vector& w, const Vector& rows) {
  Vector y(x.size());
  for (std::size_t s = 0; s + 1 < c.cu_seqlens.size(); ++s) {
    const std::int64_t begin = c.cu_seqlens[s];
    for (std::int64_t t = begin; t < c.cu_seqlens[s + 1]; ++t) {
      for (std::int64_t ch = 0; ch < c.channels; ++ch) {
        double z = 0;
        for (std::int64_t j = 0; j < c.taps; ++j) {
          const std::int64_t from = t - (c.taps - 1) + j;
          const std::int64_t row = static_cast<std::int64_t>(s) * (c.taps - 1) + from - begin + c.taps - 1;
          const double past = rows.empty() || from >= begin ? 0 : rows[row * c.channels + ch];
          z += w[ch * c.taps + j] * (from >= begin ? x[from * c.channels + ch] : past);
        }
        y[t * c.channels + ch] = z / (1 + std::exp(-z));
      }
    }
  }
  return y;
}

// 1 / |v| of each vector of `dim` elements, with eps below the root.
Vector reciprocal_norms(const Vector& v, std::int64_t dim, double eps) {
  Vector factors;
  for (std::size_t i = 0; i < v.size(); i += static_cast<std::size_t>(dim)) {
    double squares = eps;
    for (std::size_t k = i; k < i + static_cast<std::size_t>(dim); ++k) squares += v[k] * v[k];
    factors.push_back(1 / std::sqrt(squares));
  }
  return factors;
}

Vector unit_vectors(Vector v, std::int64_t dim, double eps) {
  const Vector factors = reciprocal_norms(v, dim, eps);
  for (std::size_t i = 0; i < v.size(); ++i) v[i] *= factors[i / static_cast<std::size_t>(dim)];
  return v;
}

TEST(ShortConv, ForwardAndBackward) {
  for (const DType dtype : kFloatTypes) {
    for (const Case& c : kCases) {
      const Shape shape{c.cu_seqlens.back(), c.channels};
      const Tensor x = random_normal(shape, "x", 1, 0, 1, dtype), w = random_normal({c.channels, c.taps}, "w");
      const Tensor dy = random_normal(shape, "dy", 1, 0, 1, dtype);
      const Tensor initial = c.initial ? random_normal({sequences_of(c), c.taps - 1, c.channels}, "s") : Tensor();
      const ShortConvInputs inputs{x, w, cu_seqlens_of(c), initial};
      const Vector xs = to_doubles(x), ws = to_doubles(w), dys = to_doubles(dy);
      const Vector rows = c.initial ? to_doubles(initial) : Vector();
      const Tensor y = filled(shape, dtype), dx = filled(shape, dtype), dw = random_normal(w.shape(), "dw");
      const Tensor dinitial = c.initial ? filled(initial.shape()) : Tensor();
      const Vector dw_before = to_doubles(dw);
      short_conv_forward(inputs, y, {}, {});
      EXPECT_TRUE(close(y, conv(c, xs, ws, rows), tolerance(dtype)));
      short_conv_backward(inputs, dy, {dx, dw, dinitial}, {});
      EXPECT_TRUE(close(dx, numeric_gradient([&](const Vector& v) { return conv(c, v, ws, rows); }, xs, dys),
                        gradient_tolerance(dtype)));
      EXPECT_TRUE(close(
          dw, plus(numeric_gradient([&](const Vector& v) { return conv(c, xs, v, rows); }, ws, dys), dw_before), 2e-5));

      if (c.initial) {
        const auto of_rows = [&](const Vector& v) { return conv(c, xs, ws, v); };
        EXPECT_TRUE(close(dinitial, numeric_gradient(of_rows, rows, dys), 2e-5));
      }

      const Tensor again = random_normal(w.shape(), "dw"), dx_again = filled(shape, dtype);
      short_conv_backward(inputs, dy, {dx_again, again, {}}, {});
      EXPECT_TRUE(same_bits(again, dw));
      EXPECT_TRUE(same_bits(dx_again, dx));
    }
  }
}

// ---- with an L2 norm

struct NormedCase {
  std::vector<std::int32_t> cu_seqlens;
  std::int64_t heads, head_dim, taps;
  bool initial = false;
};
// Heads of less than a vector, of odd sizes, that do not fill a slab; more channels or taps than one pass takes.
const NormedCase kNormedCases[] = {
    {{0, 0}, 2, 3, 4},          {{0, 1}, 1, 1, 4},     {{0, 2, 2, 3, 11, 14}, 3, 6, 4, true},
    {{0, 5, 6}, 2, 33, 2},      {{0, 4, 7}, 5, 16, 1}, {{0, 40, 75}, 7, 12, 4, true},
    {{0, 3, 4}, 5, 96, 4},      {{0, 3}, 2, 256, 4},   {{0, 2, 3}, 1, 257, 4, true},
    {{0, 3, 9}, 2, 4, 6, true},
};

TEST(ShortConvL2Norm, ForwardAndBackward) {
  constexpr double kEps = 1e-6;
  for (const DType dtype : kFloatTypes) {
    for (const NormedCase& n : kNormedCases) {
      const Case c{n.cu_seqlens, n.heads * n.head_dim, n.taps, n.initial};
      const bool is_fused = n.head_dim <= kMaxFusedHeadDim && n.taps <= kMaxFusedTaps;
      const std::int64_t tokens = c.cu_seqlens.back();
      SCOPED_TRACE(
          fmt::format("{} tokens, {} heads of {}, {} taps, {}", tokens, n.heads, n.head_dim, n.taps, name_of(dtype)));
      const Shape flat{tokens, c.channels}, per_head{tokens, n.heads, n.head_dim},
          state{sequences_of(c), c.taps - 1, c.channels};
      const Tensor x = random_normal(flat, "x", 1, 0, 1, dtype), w = random_normal({c.channels, c.taps}, "w");
      const Tensor dy = random_normal(per_head, "dy", 1, 0, 1, dtype);
      const Tensor initial = c.initial ? random_normal(state, "s") : Tensor();
      const ShortConvInputs inputs{x, w, cu_seqlens_of(c), initial};
      const auto f = [&](const Vector& xs, const Vector& ws) {
        return unit_vectors(conv(c, xs, ws, c.initial ? to_doubles(initial) : Vector()), n.head_dim, kEps);
      };
      const Vector xs = to_doubles(x), ws = to_doubles(w), dys = to_doubles(dy);

      const Tensor y = filled(per_head, dtype), rstd = filled({tokens, n.heads}), final_state = filled(state);
      short_conv_l2_norm_forward(inputs, kEps, y, rstd, final_state, {});
      EXPECT_TRUE(close(y, f(xs, ws), tolerance(dtype)));
      const Tensor silu = filled(flat, dtype), same_state = filled(state);
      short_conv_forward(inputs, silu, same_state, {});
      EXPECT_TRUE(same_bits(final_state, same_state));
      EXPECT_TRUE(close(rstd,
                        reciprocal_norms(conv(c, xs, ws, c.initial ? to_doubles(initial) : Vector()), n.head_dim, kEps),
                        tolerance(dtype)));

      const Tensor dx = filled(flat, dtype), dw = random_normal(w.shape(), "dw");
      const Vector dw_before = to_doubles(dw);
      const Tensor dinitial = c.initial ? filled(state) : Tensor();
      short_conv_l2_norm_backward(inputs, y, rstd, dy, {dx, dw, dinitial}, {});
      if (c.initial) {
        const auto of_rows = [&](const Vector& v) { return unit_vectors(conv(c, xs, ws, v), n.head_dim, kEps); };
        const Vector of_initial = numeric_gradient(of_rows, to_doubles(initial), dys);
        EXPECT_TRUE(close(dinitial, of_initial, is_fused ? 2e-5 : gradient_tolerance(dtype)));
      }
      const Vector expected = numeric_gradient([&](const Vector& v) { return f(v, ws); }, xs, dys);
      EXPECT_TRUE(close(dx, expected, gradient_tolerance(dtype), n.head_dim == 1 ? 1e-2 : 0));
      if (n.head_dim > 1) {
        const Vector taps = numeric_gradient([&](const Vector& v) { return f(xs, v); }, ws, dys);
        EXPECT_TRUE(close(dw, plus(taps, dw_before), is_fused ? 2e-5 : gradient_tolerance(dtype)));
      }
    }
  }
}

TEST(ShortConvL2Norm, OfZerosIsZero) {
  const std::int32_t ends[] = {0, 3};
  const ShortConvInputs inputs{Tensor::zeros({3, 8}), random_normal({8, 4}, "w"), Tensor::from(ends, {2}), {}};
  const Tensor y = filled({3, 2, 4}), rstd = filled({3, 2}), dx = filled({3, 8}), dw = Tensor::zeros({8, 4});
  short_conv_l2_norm_forward(inputs, 1e-6f, y, rstd, {}, {});
  EXPECT_TRUE(same_bits(y, Tensor::zeros({3, 2, 4})));
  short_conv_l2_norm_backward(inputs, y, rstd, random_normal({3, 2, 4}, "dy"), {dx, dw, {}}, {});
  for (const double value : to_doubles(dx)) EXPECT_TRUE(std::isfinite(value));
}

TEST(ShortConvL2Norm, ShapesThatDoNotFitAreNamed) {
  const std::int32_t ends[] = {0, 4};
  const ShortConvInputs inputs{Tensor::zeros({4, 8}), Tensor::zeros({8, 4}), Tensor::from(ends, {2}), {}};
  const Tensor y = Tensor::zeros({4, 2, 4}), rstd = Tensor::zeros({4, 2});
  EXPECT_THAT(error_of([&] {
                short_conv_l2_norm_forward(inputs, 1e-6f, Tensor::zeros({4, 2, 3}), rstd, {}, {});
              }),
              HasSubstr("y: expected float32[4, heads, head_dim] with heads x head_dim = 8, got float32[4, 2, 3]"));
  EXPECT_THAT(error_of([&] {
                short_conv_l2_norm_forward(inputs, 1e-6f, y, Tensor::zeros({4, 3}), {}, {});
              }),
              HasSubstr("rstd: expected float32[4, 2]"));
  EXPECT_THAT(error_of([&] {
                short_conv_l2_norm_backward(inputs, y, rstd, y, {inputs.x, Tensor::zeros({8, 4}), {}}, {});
              }),
              HasSubstr("dx must be neither dy nor x itself"));
}

// ---- sequences

TEST(ShortConv, TapGradientOverManyTokens) {
  const Case c{{0, 1500, 1501, 4000}, 5, 4};
  const Shape shape{4000, 5};
  const Tensor x = random_normal(shape, "x"), w = random_normal({5, 4}, "w"), dy = random_normal(shape, "dy");
  const Tensor dx = filled(shape), dw = Tensor::zeros({5, 4});
  short_conv_backward({x, w, cu_seqlens_of(c), {}}, dy, {dx, dw, {}}, {});
  const auto f = [&](const Vector& v) { return conv(c, to_doubles(x), v, {}); };
  EXPECT_TRUE(close(dw, numeric_gradient(f, to_doubles(w), to_doubles(dy)), 2e-5));
}

TEST(ShortConv, PackedIsSeparate) {
  const Case c{{0, 5, 5, 12, 13}, 20, 4};
  const Tensor x = random_normal({13, 20}, "x"), w = random_normal({20, 4}, "w"), packed = filled({13, 20});
  short_conv_forward({x, w, cu_seqlens_of(c), {}}, packed, {}, {});
  for (std::size_t s = 0; s + 1 < c.cu_seqlens.size(); ++s) {
    const std::int32_t begin = c.cu_seqlens[s], end = c.cu_seqlens[s + 1], ends[] = {0, end - begin};
    const Tensor alone = filled({end - begin, 20});
    short_conv_forward({x.slice(begin, end), w, Tensor::from(ends, {2}), {}}, alone, {}, {});
    EXPECT_TRUE(same_bits(alone, packed.slice(begin, end)));
  }
}

TEST(ShortConv, StateCarriesASequenceOn) {
  for (const std::int32_t cut : {0, 1, 2, 3, 7, 10}) {
    const std::int32_t whole_ends[] = {0, 10}, first_ends[] = {0, cut}, second_ends[] = {0, 10 - cut};
    const Tensor x = random_normal({10, 6}, "x"), w = random_normal({6, 4}, "w"), whole = filled({10, 6});
    const Tensor whole_state = filled({1, 3, 6}), state = Tensor::zeros({1, 3, 6}), parts = filled({10, 6});
    short_conv_forward({x, w, Tensor::from(whole_ends, {2}), {}}, whole, whole_state, {});
    short_conv_forward({x.slice(0, cut), w, Tensor::from(first_ends, {2}), state}, parts.slice(0, cut), state, {});
    short_conv_forward({x.slice(cut, 10), w, Tensor::from(second_ends, {2}), state}, parts.slice(cut, 10), state, {});
    EXPECT_TRUE(close(parts, whole, 1e-6)) << "cut at " << cut;
    EXPECT_TRUE(same_bits(state, whole_state)) << "cut at " << cut;
  }
}

TEST(ShortConv, ShapesThatDoNotFitAreNamed) {
  const Tensor x = Tensor::zeros({4, 8}), w = Tensor::zeros({8, 4});
  const std::int32_t ends[] = {0, 4}, short_ends[] = {0, 3}, falling[] = {0, 3, 2, 4};
  const Tensor cu = Tensor::from(ends, {2});
  EXPECT_THAT(error_of([&] {
                short_conv_forward({x, Tensor::zeros({7, 4}), cu, {}}, x.clone(), {}, {});
              }),
              HasSubstr("weight"));
  EXPECT_THAT(error_of([&] {
                short_conv_forward({x, w, Tensor::from(short_ends, {2}), {}}, x.clone(), {}, {});
              }),
              HasSubstr("cu_seqlens: expected to go from 0 to 4 tokens"));
  EXPECT_THAT(error_of([&] {
                short_conv_forward({x, w, Tensor::from(falling, {4}), {}}, x.clone(), {}, {});
              }),
              HasSubstr("falls from 3 to 2"));
  EXPECT_THAT(error_of([&] {
                short_conv_forward({x, w, cu, Tensor::zeros({1, 2, 8})}, x.clone(), {}, {});
              }),
              HasSubstr("initial_state"));
}

}  // namespace
}  // namespace mudelta::testing
