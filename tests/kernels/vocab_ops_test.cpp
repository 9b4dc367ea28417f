// Ops over the vocabulary and over flat buffers, against float64 loops.

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/newton_schulz.h"
#include "kernels/optimizer_update.h"
#include "kernels/reduce.h"
#include "kernels/slice_copy.h"
#include "tests/support/errors.h"
#include "tests/support/op_case.h"
#include "tests/support/vocabulary_parts.h"

namespace mudelta::testing {
namespace {

using namespace mudelta::kernels;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// ---- embedding

TEST(Embedding, ForwardAndBackward) {
  for (const DType dtype : kFloatTypes) {
    for (const auto& [count, vocab, width] :
         {std::tuple{0, 3, 4}, {1, 1, 1}, {50, 7, 5}, {200, 11, 33}, {9, 1000, 16}}) {
      const Tensor table = random_normal({vocab, width}, "t", 1, 0, 1, dtype), tokens = random_tokens(count, vocab);
      const Tensor y = filled({count, width}), dy = random_normal({count, width}, "dy");
      embedding_forward(table, tokens, y, {});
      const Tensor dtable = random_normal({vocab, width}, "dt"), again = dtable.clone();
      Vector expected_y, expected = to_doubles(dtable);
      const Vector rows = to_doubles(table), dys = to_doubles(dy);
      for (std::int64_t t = 0; t < count; ++t) {
        for (std::int64_t i = 0; i < width; ++i) {
          const std::int64_t at = tokens.data<std::int32_t>()[t] * width + i;
          expected_y.push_back(rows[at]);
          expected[at] += dys[t * width + i];
        }
      }
      EXPECT_TRUE(close(y, expected_y, 0));
      embedding_backward(tokens, dy, dtable, {});
      embedding_backward(tokens, dy, again, {});
      EXPECT_TRUE(close(dtable, expected, 1e-6));
      EXPECT_TRUE(same_bits(again, dtable));
    }
  }
}

TEST(Embedding, PartsAddUpToTheWhole) {
  const std::int64_t count = 200, vocab = 11, width = 33;
  const Tensor table = random_normal({vocab, width}, "t"), tokens = random_tokens(count, vocab);
  const Tensor whole = filled({count, width}), dy = random_normal({count, width}, "dy");
  const Tensor dwhole = random_normal({vocab, width}, "dt"), dparts = dwhole.clone();
  embedding_forward(table, tokens, whole, {});
  embedding_backward(tokens, dy, dwhole, {});
  const auto bounds = part_bounds(vocab, 4);
  const Tensor sum = Tensor::zeros({count, width});
  for (int p = 0; p < 4; ++p) {
    const VocabularyPart part{bounds[p], vocab};
    const Tensor y = filled({count, width});
    embedding_forward(table.slice(bounds[p], bounds[p + 1]), tokens, y, {}, part);
    add_to(y, sum, {});
    embedding_backward(tokens, dy, dparts.slice(bounds[p], bounds[p + 1]), {}, part);
  }
  EXPECT_TRUE(same_bits(sum, whole));
  EXPECT_TRUE(same_bits(dparts, dwhole));
}

TEST(Embedding, PartsThatDoNotFitAreNamed) {
  const Tensor table = Tensor::zeros({3, 2}), y = Tensor::zeros({1, 2}), tokens = Tensor::zeros({1}, DType::kInt32);
  EXPECT_THAT(error_of([&] {
                embedding_forward(table, tokens, y, {}, {8, 10});
              }),
              HasSubstr("3 rows from token 8 on are no part of 10 tokens"));
}

TEST(Embedding, TokensOutsideTheTableAreNamed) {
  const Tensor table = Tensor::zeros({3, 2}), y = Tensor::zeros({2, 2});
  const std::int32_t high[] = {0, 3}, low[] = {-1, 0};
  EXPECT_THAT(error_of([&] { embedding_forward(table, Tensor::from(high, {2}), y, {}); }),
              HasSubstr("3 at position 1 is outside [0, 3)"));
  EXPECT_THAT(error_of([&] { embedding_backward(Tensor::from(low, {2}), y, table, {}); }),
              HasSubstr("-1 at position 0"));
}

// ---- cross_entropy

struct Head {
  std::int64_t tokens, vocab, width;
  double multiplier;
  std::vector<std::int32_t> targets;

  Vector losses(const Vector& hidden, const Vector& weight) const {
    Vector result(static_cast<std::size_t>(tokens));
    for (std::int64_t t = 0; t < tokens; ++t) {
      if (targets[t] < 0) continue;
      Vector logits(static_cast<std::size_t>(vocab));
      for (std::int64_t v = 0; v < vocab; ++v) {
        for (std::int64_t i = 0; i < width; ++i)
          logits[v] += multiplier * hidden[t * width + i] * weight[v * width + i];
      }
      const double largest = *std::max_element(logits.begin(), logits.end());
      double sum = 0;
      for (const double logit : logits) sum += std::exp(logit - largest);
      result[t] = std::log(sum) + largest - logits[targets[t]];
    }
    return result;
  }
};

TEST(CrossEntropy, ForwardAndBackward) {
  for (const DType dtype : kFloatTypes) {
    for (const auto& [tokens, vocab, width, multiplier] :
         {std::tuple{0, 5, 3, 1.0f}, {1, 1, 1, 1.0f}, {7, 11, 5, 0.25f}, {9, 33, 17, 2.0f}, {20, 50, 8, 1.0f}}) {
      const Tensor hidden = random_normal({tokens, width}, "h", 1, 0, 1, dtype);
      const Tensor weight = random_normal({vocab, width}, "w", 1, 0, 1, dtype),
                   targets = random_tokens(tokens, vocab, -1);
      const auto ids = targets.span<std::int32_t>();
      const Head head{tokens, vocab, width, multiplier, {ids.begin(), ids.end()}};
      const Vector hs = to_doubles(hidden), ws = to_doubles(weight);
      const Tensor losses = filled({tokens}), both = filled({tokens}), dhidden = filled(hidden.shape(), dtype);
      const Tensor dweight = random_normal(weight.shape(), "dw");
      const Vector before = to_doubles(dweight), scales(static_cast<std::size_t>(tokens), 0.5);
      const CrossEntropyInputs inputs{hidden, weight, targets, multiplier};
      cross_entropy_forward(inputs, losses, {});
      EXPECT_TRUE(close(losses, head.losses(hs, ws), 1e-5, 1e-6));
      cross_entropy_forward_backward(inputs, 0.5f, both, dhidden, dweight, {});
      EXPECT_TRUE(close(both, losses, 1e-6, 1e-6));
      const double limit = dtype == DType::kBFloat16 ? 8e-3 : 2e-5, tiny = vocab == 1 ? 1e-6 : 0;
      const auto dh = numeric_gradient([&](const Vector& v) { return head.losses(v, ws); }, hs, scales);
      const auto dw = numeric_gradient([&](const Vector& v) { return head.losses(hs, v); }, ws, scales);
      EXPECT_TRUE(close(dhidden, dh, limit, tiny)) << tokens << " tokens, vocabulary " << vocab;
      EXPECT_TRUE(close(dweight, plus(dw, before), limit, tiny)) << tokens << " tokens, vocabulary " << vocab;
    }
  }
}

// More tokens than one block of logits holds: each token's loss and gradient are those it has alone.
TEST(CrossEntropy, BlocksOfTokensDoNotMatter) {
  const std::int64_t tokens = 700, vocab = 4001, width = 3;
  const Tensor hidden = random_normal({tokens, width}, "h"), weight = random_normal({vocab, width}, "w");
  const Tensor targets = random_tokens(tokens, vocab), losses = filled({tokens}), dhidden = filled(hidden.shape());
  const Tensor dweight = Tensor::zeros(weight.shape()), dweight_alone = Tensor::zeros(weight.shape());
  cross_entropy_forward_backward({hidden, weight, targets, 1.5f}, 2.0f, losses, dhidden, dweight, {});
  const Tensor losses_alone = filled({tokens}), dhidden_alone = filled(hidden.shape());
  for (std::int64_t t = 0; t < tokens; ++t) {
    cross_entropy_forward_backward({hidden.slice(t, t + 1), weight, targets.slice(t, t + 1), 1.5f}, 2.0f,
                                   losses_alone.slice(t, t + 1), dhidden_alone.slice(t, t + 1), dweight_alone, {});
  }
  EXPECT_TRUE(close(losses, losses_alone, 1e-6));
  EXPECT_TRUE(close(dhidden, dhidden_alone, 1e-5));
  EXPECT_TRUE(close(dweight, dweight_alone, 1e-5));
}

// The whole vocabulary, and parts of it whose owners work together.
TEST(CrossEntropy, PartsAreAsTheWhole) {
  for (const DType dtype : kFloatTypes) {
    for (const auto& [tokens, vocab, width, num_parts] :
         {std::tuple{7, 11, 5, 2}, {20, 50, 8, 3}, {9, 4, 3, 4}, {700, 4001, 3, 2}}) {
      const Tensor hidden = random_normal({tokens, width}, "h", 1, 0, 1, dtype);
      const Tensor weight = random_normal({vocab, width}, "w", 1, 0, 1, dtype);
      const CrossEntropyInputs inputs{hidden, weight, random_tokens(tokens, vocab, -1), 1.5f};
      const Tensor losses = filled({tokens}), dhidden = filled(hidden.shape(), dtype);
      const Tensor dweight = Tensor::zeros(weight.shape()), dweight_parts = Tensor::zeros(weight.shape());
      cross_entropy_forward_backward(inputs, 0.5f, losses, dhidden, dweight, {});

      const auto bounds = part_bounds(vocab, num_parts);
      Vector dhidden_sum;
      std::vector<Tensor> losses_alone, losses_both;
      for (int p = 0; p < num_parts; ++p)
        losses_alone.push_back(filled({tokens})), losses_both.push_back(filled({tokens}));
      run_parts(num_parts, [&](int p, const OverParts& over_parts) {
        CrossEntropyInputs part = inputs;
        part.weight = weight.slice(bounds[p], bounds[p + 1]);
        part.part = {bounds[p], vocab};
        part.over_parts = over_parts;
        const Tensor dpart = filled(hidden.shape(), dtype);
        const Tensor dw = dweight_parts.slice(bounds[p], bounds[p + 1]);
        dw.fill_zero();
        cross_entropy_forward(part, losses_alone[p], {});
        cross_entropy_forward_backward(part, 0.5f, losses_both[p], dpart, dw, {});
        dhidden_sum = p == 0 ? to_doubles(dpart) : plus(dhidden_sum, to_doubles(dpart));
      });
      const double limit = dtype == DType::kBFloat16 ? 1e-2 : 2e-6;
      for (int p = 0; p < num_parts; ++p) {
        EXPECT_TRUE(close(losses_alone[p], losses, 1e-6, 1e-6));
        EXPECT_TRUE(close(losses_both[p], losses, 1e-6, 1e-6));
      }
      EXPECT_TRUE(close(dhidden, dhidden_sum, limit));
      EXPECT_TRUE(close(dweight_parts, dweight, limit));
    }
  }
}

TEST(CrossEntropy, LargeLogitsStayFinite) {
  const float rows[] = {1e4f, -1e4f}, table[] = {1, -1, 0.5f};
  const std::int32_t ids[] = {0, 2};
  const Tensor hidden = Tensor::from(rows, {2, 1}), weight = Tensor::from(table, {3, 1}),
               targets = Tensor::from(ids, {2});
  const Tensor losses = filled({2}), dhidden = filled({2, 1}), dweight = Tensor::zeros({3, 1});
  cross_entropy_forward_backward({hidden, weight, targets, 1.0f}, 1.0f, losses, dhidden, dweight, {});
  EXPECT_FLOAT_EQ(losses.data<float>()[0], 0);
  EXPECT_FLOAT_EQ(losses.data<float>()[1], 15000);
  EXPECT_FLOAT_EQ(dhidden.data<float>()[1], -1.5f);
}

TEST(CrossEntropy, TargetsOutsideTheVocabularyAreNamed) {
  const Tensor hidden = Tensor::zeros({2, 4}), weight = Tensor::zeros({3, 4}), losses = Tensor::zeros({2});
  const std::int32_t high[] = {0, 3}, low[] = {-2, 0};
  EXPECT_THAT(error_of([&] {
                cross_entropy_forward({hidden, weight, Tensor::from(high, {2}), 1}, losses, {});
              }),
              HasSubstr("3 at position 1"));
  EXPECT_THAT(error_of([&] {
                cross_entropy_forward({hidden, weight, Tensor::from(low, {2}), 1}, losses, {});
              }),
              HasSubstr("-2 at position 0"));
  EXPECT_THAT(error_of([&] {
                cross_entropy_forward({hidden, weight.to(DType::kBFloat16), Tensor::from(high, {2}), 1}, losses, {});
              }),
              HasSubstr("weight"));
}

// ---- elementwise and reductions

TEST(Elementwise, AddScaleConvert) {
  for (const std::int64_t n : {0, 1, 15, 16, 17, 1000, 40001}) {
    for (const DType dtype : kFloatTypes) {
      const Tensor x = random_normal({n}, "x", 1, 0, 1, dtype), y = random_normal({n}, "y");
      const Vector sum = plus(to_doubles(y), to_doubles(x));
      add_to(x, y, {});
      EXPECT_TRUE(close(y, sum, 1e-6));
      const Tensor narrow = filled({n}, DType::kBFloat16), wide = filled({n});
      convert(y, narrow, {});
      EXPECT_TRUE(same_bits(narrow, y.to(DType::kBFloat16)));
      convert(x, wide, {});
      EXPECT_TRUE(same_bits(wide, x.to(DType::kFloat32)));
    }
    const Tensor y = random_normal({n}, "y");
    Vector expected = to_doubles(y);
    for (double& value : expected) value *= -0.375;
    mudelta::kernels::scale(y, -0.375f, {});
    EXPECT_TRUE(close(y, expected, 1e-7));
  }
  EXPECT_THAT(error_of([] { add_to(Tensor::zeros({3}), Tensor::zeros({4}), {}); }), HasSubstr("add_to"));
}

TEST(Reduce, SumsAreThoseOfFloat64) {
  for (const std::int64_t n : {0, 1, 17, 1000, 300001}) {
    for (const DType dtype : kFloatTypes) {
      const Tensor x = random_normal({n}, "x", 1, 0.1, 1, dtype);
      double sums = 0, squares = 0;
      for (const double value : to_doubles(x)) sums += value, squares += value * value;
      EXPECT_NEAR(sum(x, {}), sums, 1e-9 * static_cast<double>(n + 1));
      EXPECT_NEAR(sum_of_squares(x, {}), squares, 1e-9 * static_cast<double>(n + 1));
      EXPECT_EQ(sum(x, {}), sum(x, {}));
    }
  }
}

TEST(Reduce, TotalsAccumulate) {
  const Tensor x = random_normal({1000}, "x"), total = Tensor::zeros({1}, DType::kFloat64);
  add_sum(x, total, {});
  add_sum_of_squares(x, 2.5, total, {});
  EXPECT_DOUBLE_EQ(*total.data<double>(), sum(x, {}) + 2.5 * sum_of_squares(x, {}));
  EXPECT_THAT(error_of([&] { add_sum(x, Tensor::zeros({1}), {}); }), HasSubstr("[add_sum] total: expected float64[1]"));
}

TEST(Reduce, NanAndInfinityShow) {
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 3e38f}) {
    for (const std::int64_t at : {0, 500, 999}) {
      const Tensor x = Tensor::zeros({1000});
      x.data<float>()[at] = bad;
      EXPECT_EQ(std::isfinite(sum(x, {})), std::isfinite(bad));
      EXPECT_EQ(std::isfinite(sum_of_squares(x, {})), std::isfinite(bad));  // float64 holds 3e38 squared
    }
  }
}

// ---- newton_schulz and slice_copy

TEST(NewtonSchulzOps, DivideByNormAndPolynomial) {
  for (const std::int64_t n : {0, 1, 7, 16, 33}) {
    for (const DType dtype : kFloatTypes) {
      const double tolerance = dtype == DType::kFloat32 ? 1e-6 : 5e-3;
      const Tensor x = random_normal({n, n}, "x", 1, 0, 1, dtype), x2 = random_normal({n, n}, "x2", 1, 0, 1, dtype);
      Vector expected = to_doubles(x2);
      const Vector xs = to_doubles(x);
      for (std::int64_t i = 0; i < n * n; ++i) {
        const auto at = static_cast<std::size_t>(i);
        expected[at] = (i % (n + 1) == 0 ? 3.5 : 0) - 1.25 * xs[at] + 0.75 * expected[at];
      }
      matrix_polynomial({3.5f, -1.25f, 0.75f}, x, x2, x2, {});
      EXPECT_TRUE(close(x2, expected, tolerance)) << n;

      const Tensor from = random_normal({n, n}, "from"), to = filled({n, n}, dtype);
      Tensor square_sum = Tensor::zeros({1}, DType::kFloat64);
      *square_sum.data<double>() = 16;
      Vector quotient = to_doubles(from);
      for (double& value : quotient) value /= 6 + 1e-7;
      divide_by_norm(from, square_sum, 1.5f, to, {});
      EXPECT_TRUE(close(to, quotient, tolerance));
    }
  }
}

TEST(SliceCopy, PartsGoToTheirPlacesAndBack) {
  const Shape whole_shape{5, 6, 3};
  for (const ParameterSlice& slice : {ParameterSlice{}, {0, 1, 4}, {1, 2, 5}, {2, 1, 2}}) {
    const SliceMap map(whole_shape, slice);
    for (const std::int64_t begin : {std::int64_t{0}, std::int64_t{1}, map.numel() / 2, map.numel()}) {
      const std::int64_t n = map.numel() - begin;
      const Tensor part = random_normal({n}, "part"), whole = random_normal(whole_shape, "whole");
      Vector expected = to_doubles(whole);
      for (std::int64_t i = 0; i < n; ++i) {
        expected[static_cast<std::size_t>(map.whole_index(begin + i))] = part.data<float>()[i];
      }
      put_part(map, begin, part, whole, {});
      EXPECT_TRUE(close(whole, expected, 0));
      const Tensor back = filled({n});
      take_part(map, begin, whole, back, {});
      EXPECT_TRUE(same_bits(back, part));
    }
    EXPECT_THAT(error_of([&] { put_part(map, 1, Tensor::zeros({map.numel()}), Tensor::zeros(whole_shape), {}); }),
                HasSubstr("put_part"));
  }
  EXPECT_THAT(error_of([] { take_part(SliceMap({4}, {}), 0, Tensor::zeros({3}), Tensor::zeros({4}), {}); }),
              HasSubstr("take_part"));
}

// ---- optimizer_update

TEST(OptimizerUpdate, AdamWFollowsItsFormula) {
  for (const std::int64_t n : {0, 1, 17, 40001}) {
    const Tensor w = random_normal({n}, "w"), m = random_normal({n}, "m"), v = random_uniform({n}, "v", 0, 1);
    const Tensor g = random_normal({n}, "g");
    Vector ws = to_doubles(w), ms = to_doubles(m), vs = to_doubles(v);
    const Vector gs = to_doubles(g);
    for (std::size_t i = 0; i < gs.size(); ++i) {
      const double gradient = 0.5 * gs[i];
      ms[i] = 0.8 * ms[i] + 0.2 * gradient;
      vs[i] = 0.9 * vs[i] + 0.1 * gradient * gradient;
      ws[i] = ws[i] - 0.01 * ws[i] - 0.03 * (ms[i] / 0.36) / (std::sqrt(vs[i] / 0.19) + 1e-3);
    }
    adamw_update({.weight = w,
                  .exp_avg = m,
                  .exp_avg_sq = v,
                  .gradient = g,
                  .gradient_scale = 0.5f,
                  .lr = 0.03f,
                  .beta1 = 0.8f,
                  .beta2 = 0.9f,
                  .eps = 1e-3f,
                  .decay = 0.01f,
                  .bias_correction1 = 0.36f,
                  .bias_correction2 = 0.19f},
                 {});
    EXPECT_TRUE(close(w, ws, 1e-6));
    EXPECT_TRUE(close(m, ms, 1e-6));
    EXPECT_TRUE(close(v, vs, 1e-6));
  }
}

TEST(OptimizerUpdate, MomentumAndDirectionFollowTheirFormulas) {
  for (const bool nesterov : {false, true}) {
    for (const std::int64_t n : {0, 1, 17, 40001}) {
      const Tensor w = random_normal({n}, "w"), u = random_normal({n}, "u"), g = random_normal({n}, "g");
      Vector ws = to_doubles(w), us = to_doubles(u), directions = to_doubles(g);
      for (std::size_t i = 0; i < ws.size(); ++i) {
        const double gradient = 0.5 * directions[i];
        us[i] = 0.9 * us[i] + 0.1 * gradient;
        directions[i] = nesterov ? 0.1 * gradient + 0.9 * us[i] : us[i];
        ws[i] -= 0.01 * ws[i] + 0.03 * directions[i];
      }
      momentum_update({.momentum_buffer = u,
                       .gradient = g,
                       .direction = g,
                       .gradient_scale = 0.5f,
                       .momentum = 0.9f,
                       .nesterov = nesterov},
                      {});
      direction_update({.weight = w, .direction = g, .lr = 0.03f, .decay = 0.01f}, {});
      EXPECT_TRUE(close(u, us, 1e-6));
      EXPECT_TRUE(close(g, directions, 1e-6));
      EXPECT_TRUE(close(w, ws, 1e-6));
    }
  }
}

TEST(OptimizerUpdate, SgdFollowsItsFormula) {
  for (const bool nesterov : {false, true}) {
    for (const std::int64_t n : {0, 1, 17, 40001}) {
      const Tensor w = random_normal({n}, "w"), u = random_normal({n}, "u"), g = random_normal({n}, "g");
      Vector ws = to_doubles(w), us = to_doubles(u);
      const Vector gs = to_doubles(g);
      for (std::size_t i = 0; i < gs.size(); ++i) {
        const double gradient = 0.5 * gs[i];
        ws[i] -= 0.01 * ws[i];
        us[i] = 0.9 * us[i] + gradient;
        ws[i] -= 0.03 * (nesterov ? gradient + 0.9 * us[i] : us[i]);
      }
      sgd_update({.weight = w,
                  .momentum_buffer = u,
                  .gradient = g,
                  .gradient_scale = 0.5f,
                  .lr = 0.03f,
                  .momentum = 0.9f,
                  .nesterov = nesterov,
                  .decay = 0.01f},
                 {});
      EXPECT_TRUE(close(w, ws, 1e-6));
      EXPECT_TRUE(close(u, us, 1e-6));
    }
  }
}

TEST(OptimizerUpdate, ZeroGradientsAndStateMoveNothing) {
  const Tensor w = random_normal({33}, "w"), zero = Tensor::zeros({33}), before = w.clone();
  adamw_update({.weight = w, .exp_avg = zero.clone(), .exp_avg_sq = zero.clone(), .gradient = zero, .lr = 1}, {});
  EXPECT_TRUE(same_bits(w, before));
}

TEST(OptimizerUpdate, LengthsThatDifferAreNamed) {
  const Tensor w = Tensor::zeros({4}), other = Tensor::zeros({5});
  EXPECT_THAT(error_of([&] { adamw_update({.weight = w, .exp_avg = w, .exp_avg_sq = other, .gradient = w}, {}); }),
              HasSubstr("exp_avg_sq"));
  EXPECT_THAT(error_of([&] { sgd_update({.weight = w, .momentum_buffer = w, .gradient = other}, {}); }),
              HasSubstr("gradient"));
}

}  // namespace
}  // namespace mudelta::testing
