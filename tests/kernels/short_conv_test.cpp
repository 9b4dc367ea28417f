#include "kernels/short_conv.h"

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
      const Vector dw_before = to_doubles(dw);
      short_conv_forward(inputs, y, {}, {});
      EXPECT_TRUE(close(y, conv(c, xs, ws, rows), tolerance(dtype)));
      short_conv_backward(inputs, dy, dx, dw, {});
      EXPECT_TRUE(close(dx, numeric_gradient([&](const Vector& v) { return conv(c, v, ws, rows); }, xs, dys),
                        gradient_tolerance(dtype)));
      EXPECT_TRUE(close(
          dw, plus(numeric_gradient([&](const Vector& v) { return conv(c, xs, v, rows); }, ws, dys), dw_before), 2e-5));

      const Tensor again = random_normal(w.shape(), "dw"), dx_again = filled(shape, dtype);
      short_conv_backward(inputs, dy, dx_again, again, {});
      EXPECT_TRUE(same_bits(again, dw));
      EXPECT_TRUE(same_bits(dx_again, dx));
    }
  }
}

TEST(ShortConv, TapGradientOverManyTokens) {
  const Case c{{0, 1500, 1501, 4000}, 5, 4};
  const Shape shape{4000, 5};
  const Tensor x = random_normal(shape, "x"), w = random_normal({5, 4}, "w"), dy = random_normal(shape, "dy");
  const Tensor dx = filled(shape), dw = Tensor::zeros({5, 4});
  short_conv_backward({x, w, cu_seqlens_of(c), {}}, dy, dx, dw, {});
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
