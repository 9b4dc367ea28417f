// The CUDA twins of ops over the vocabulary and over flat buffers, against the CPU's.

#include <cmath>
#include <limits>

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/newton_schulz.h"
#include "kernels/optimizer_update.h"
#include "kernels/reduce.h"
#include "kernels/slice_copy.h"
#include "tests/kernels/cuda/on_device.h"
#include "tests/support/vocabulary_parts.h"

namespace mudelta::testing {
namespace {

using namespace mudelta::kernels;

class VocabOpsOnDevice : public DeviceTest {};

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

// ---- elementwise and reductions

TEST_F(VocabOpsOnDevice, AddScaleConvert) {
  for (const std::int64_t n : {0, 1, 7, 63, 64, 65, 1000, 5001}) {
    SCOPED_TRACE(n);
    for (const DType dtype : kFloatTypes) {
      const Tensor x = random_normal({n}, "x", 1, 0, 1, dtype), y = random_normal({n}, "y");
      expect_as_on_host({x, y}, [](const Tensors& t, Stream stream) { add_to(t[0], t[1], stream); });
      for (const DType to : kFloatTypes) {
        const Tensors result = run_on(device(), {x, filled({n}, to)},
                                      [](const Tensors& t, Stream stream) { convert(t[0], t[1], stream); });
        EXPECT_TRUE(same_bits(result[1], x.to(to)));
      }
    }
    expect_as_on_host({random_normal({n}, "y")},
                      [](const Tensors& t, Stream stream) { mudelta::kernels::scale(t[0], -0.375f, stream); });
  }
}

// Rows of flat buffers start anywhere.
TEST_F(VocabOpsOnDevice, TensorsNeedNotBeAligned) {
  for (const std::int64_t offset : {1, 2, 4}) {
    for (const DType dtype : kFloatTypes) {
      const Tensor x = random_normal({100 + offset}, "x", 1, 0, 1, dtype), y = random_normal({110}, "y");
      const Tensor total = Tensor::zeros({1}, DType::kFloat64);
      expect_as_on_host({x, y, total}, [=](const Tensors& t, Stream stream) {
        add_to(t[0].flat_view(offset, {100}), t[1].flat_view(3, {100}), stream);
        convert(t[1].flat_view(3, {40}), t[0].flat_view(offset, {40}), stream);
        add_sum(t[0].flat_view(offset, {100}), t[2], stream);
      });
    }
  }
  const Shape shape{9, 16};
  const Tensor y = random_normal(shape, "y"), table = random_normal({11, 16}, "t"), tokens = random_tokens(9, 11);
  for (const DType dtype : kFloatTypes) {
    expect_unaligned_as_on_host({random_normal(shape, "x", 1, 0, 1, dtype), y},
                                [](const Tensors& t, Stream stream) { add_to(t[0], t[1], stream); });
    expect_unaligned_as_on_host({y, filled(shape, dtype)},
                                [](const Tensors& t, Stream stream) { convert(t[0], t[1], stream); });
    expect_unaligned_as_on_host({table.to(dtype), tokens, y},
                                [](const Tensors& t, Stream stream) { embedding_forward(t[0], t[1], t[2], stream); });
  }
  expect_unaligned_as_on_host({y}, [](const Tensors& t, Stream stream) { mudelta::kernels::scale(t[0], 3, stream); });
  expect_unaligned_as_on_host({tokens, y, table},
                              [](const Tensors& t, Stream stream) { embedding_backward(t[0], t[1], t[2], stream); });
}

TEST_F(VocabOpsOnDevice, Sums) {
  // The last is longer than one turn of all threads.
  for (const std::int64_t n : {0, 1, 7, 63, 64, 65, 1000, 4097, 300001, 4200003}) {
    SCOPED_TRACE(n);
    for (const DType dtype : kFloatTypes) {
      if (n > 1000000 && dtype == DType::kFloat32) continue;
      const Tensor total = Tensor::zeros({1}, DType::kFloat64), squares = Tensor::zeros({1}, DType::kFloat64);
      *total.data<double>() = 0.5;
      expect_as_on_host({random_normal({n}, "x", 1, 0.1, 1, dtype), total, squares},
                        [](const Tensors& t, Stream stream) {
                          add_sum(t[0], t[1], stream);
                          add_sum_of_squares(t[0], 2.5, t[2], stream);
                        });
    }
  }
  const Tensor x = random_normal({1000}, "x");
  EXPECT_NEAR(sum(x.to(device()), Stream(device())), sum(x, {}), 1e-9);
  EXPECT_NEAR(sum_of_squares(x.to(device()), Stream(device())), sum_of_squares(x, {}), 1e-9);
}

TEST_F(VocabOpsOnDevice, NanAndInfinityShowInSums) {
  for (const float bad : {kInfinity, -kInfinity, kNan, 3e38f}) {
    for (const std::int64_t at : {0, 500, 999}) {
      const Tensor x = Tensor::zeros({1000});
      x.data<float>()[at] = bad;
      EXPECT_EQ(std::isfinite(sum(x.to(device()), Stream(device()))), std::isfinite(bad));
      EXPECT_EQ(std::isfinite(sum_of_squares(x.to(device()), Stream(device()))), std::isfinite(bad));
    }
  }
}

// ---- embedding

TEST_F(VocabOpsOnDevice, Embedding) {
  // Many tokens of a small vocabulary run over several chunks of the sorted tokens; few of a large one do not.
  for (const auto& [count, vocab, width] : {std::tuple{0, 3, 4},
                                            {1, 1, 1},
                                            {64, 1, 7},
                                            {65, 2, 65},
                                            {50, 7, 5},
                                            {1000, 11, 33},
                                            {63, 1000, 16},
                                            {200, 90, 1030}}) {
    SCOPED_TRACE(std::to_string(count) + " tokens of " + std::to_string(vocab));
    const Tensor tokens = random_tokens(count, vocab);
    for (const DType dtype : kFloatTypes) {
      const Tensors result =
          run_on(device(), {random_normal({vocab, width}, "t", 1, 0, 1, dtype), tokens, filled({count, width})},
                 [](const Tensors& t, Stream stream) { embedding_forward(t[0], t[1], t[2], stream); });
      const Tensor expected = filled({count, width});
      embedding_forward(result[0], tokens, expected, {});
      EXPECT_TRUE(same_bits(result[2], expected));
    }
    expect_as_on_host({tokens, random_normal({count, width}, "dy"), random_normal({vocab, width}, "dt")},
                      [](const Tensors& t, Stream stream) { embedding_backward(t[0], t[1], t[2], stream); });
  }
}

// ---- cross_entropy

void expect_cross_entropy(std::int64_t tokens, std::int64_t vocab, std::int64_t width, float multiplier, DType dtype) {
  SCOPED_TRACE(std::to_string(tokens) + " tokens, vocabulary " + std::to_string(vocab));
  const Tensor hidden = random_normal({tokens, width}, "h", 1, 0, 1, dtype),
               weight = random_normal({vocab, width}, "w", 1, 0, 1, dtype), targets = random_tokens(tokens, vocab, -1);
  // With one token to choose from, everything is 0 but for rounding.
  const double absolute = vocab == 1 ? 1e-5 : 0;
  expect_as_on_host(
      {hidden, weight, targets, filled({tokens})},
      [=](const Tensors& t, Stream stream) {
        cross_entropy_forward({t[0], t[1], t[2], multiplier}, t[3], stream);
      },
      absolute);
  expect_as_on_host(
      {hidden, weight, targets, filled({tokens}), filled(hidden.shape(), dtype), random_normal(weight.shape(), "dw")},
      [=](const Tensors& t, Stream stream) {
        cross_entropy_forward_backward({t[0], t[1], t[2], multiplier}, 0.5f, t[3], t[4], t[5], stream);
      },
      absolute);
}

TEST_F(VocabOpsOnDevice, CrossEntropy) {
  for (const DType dtype : kFloatTypes) {
    expect_cross_entropy(0, 5, 3, 1.0f, dtype);
    expect_cross_entropy(1, 1, 1, 1.0f, dtype);
    expect_cross_entropy(7, 11, 5, 0.25f, dtype);
    expect_cross_entropy(9, 33, 17, 2.0f, dtype);
    expect_cross_entropy(65, 64, 8, 1.0f, dtype);
    expect_cross_entropy(5, 9001, 4, 1.0f, dtype);
  }
}

TEST_F(VocabOpsOnDevice, PartsOfTheVocabularyAreAsTheWhole) {
  for (const DType dtype : kFloatTypes) {
    for (const auto& [tokens, vocab, width, num_parts] : {std::tuple{7, 11, 5, 2}, {65, 130, 8, 3}, {3, 4, 3, 4}}) {
      const Tensor hidden = random_normal({tokens, width}, "h", 1, 0, 1, dtype);
      const Tensor weight = random_normal({vocab, width}, "w", 1, 0, 1, dtype);
      const CrossEntropyInputs inputs{hidden, weight, random_tokens(tokens, vocab, -1), 1.5f};
      const Tensor losses = filled({tokens}), dhidden = filled(hidden.shape(), dtype);
      const Tensor dweight = Tensor::zeros(weight.shape());
      cross_entropy_forward_backward(inputs, 0.5f, losses, dhidden, dweight, {});

      const auto bounds = part_bounds(vocab, num_parts);
      const Stream stream(device());
      Vector dhidden_sum;
      Tensors last;  // losses, losses again and gradient of the last part
      run_parts(num_parts, [&](int p, const OverParts& over_parts) {
        const Tensor rows = weight.slice(bounds[p], bounds[p + 1]);
        const CrossEntropyInputs part{hidden.to(device()),     rows.to(device()),  inputs.targets.to(device()),
                                      inputs.logit_multiplier, {bounds[p], vocab}, over_parts};
        const Tensor alone = filled({tokens}).to(device()), both = filled({tokens}).to(device());
        const Tensor dpart = filled(hidden.shape(), dtype).to(device());
        const Tensor dw = Tensor::zeros(rows.shape(), DType::kFloat32, device());
        cross_entropy_forward(part, alone, stream);
        cross_entropy_forward_backward(part, 0.5f, both, dpart, dw, stream);
        const Vector d = to_doubles(dpart.to(Device()));
        dhidden_sum = p == 0 ? d : plus(dhidden_sum, d);
        if (p + 1 == num_parts) last = {alone.to(Device()), both.to(Device()), dw.to(Device())};
      });
      const double limit = dtype == DType::kBFloat16 ? 1e-2 : 2e-5;
      EXPECT_TRUE(close(last[0], losses, 1e-5, 1e-6));
      EXPECT_TRUE(close(last[1], losses, 1e-5, 1e-6));
      EXPECT_TRUE(close(dhidden, dhidden_sum, limit));
      EXPECT_TRUE(close(last[2], dweight.slice(bounds[num_parts - 1], vocab), limit));
    }
  }
}

TEST_F(VocabOpsOnDevice, PartsOfAnEmbedding) {
  const std::int64_t count = 300, vocab = 11, width = 33;
  const auto bounds = part_bounds(vocab, 3);
  const Tensor tokens = random_tokens(count, vocab);
  for (int p = 0; p < 3; ++p) {
    const VocabularyPart part{bounds[p], vocab};
    const std::int64_t rows = bounds[p + 1] - bounds[p];
    expect_as_on_host({random_normal({rows, width}, "t"), tokens, filled({count, width})},
                      [=](const Tensors& t, Stream stream) { embedding_forward(t[0], t[1], t[2], stream, part); });
    expect_as_on_host({tokens, random_normal({count, width}, "dy"), random_normal({rows, width}, "dt")},
                      [=](const Tensors& t, Stream stream) { embedding_backward(t[0], t[1], t[2], stream, part); });
  }
}

TEST_F(VocabOpsOnDevice, CrossEntropyOfExtremeLogits) {
  const float rows[] = {1e4f, -1e4f, kInfinity, kNan}, table[] = {1, -1, 0.5f};
  const std::int32_t ids[] = {0, 2, 0, 1};
  const Tensors result =
      run_on(device(),
             {Tensor::from(rows, {4, 1}), Tensor::from(table, {3, 1}), Tensor::from(ids, {4}), filled({4}),
              filled({4, 1}), filled({3, 1})},
             [](const Tensors& t, Stream stream) {
               cross_entropy_forward_backward({t[0], t[1], t[2], 1.0f}, 1.0f, t[3], t[4], t[5], stream);
             });
  const float *losses = result[3].data<float>(), *dhidden = result[4].data<float>();
  EXPECT_FLOAT_EQ(losses[0], 0);
  EXPECT_FLOAT_EQ(losses[1], 15000);
  EXPECT_FLOAT_EQ(dhidden[0], 0);
  EXPECT_FLOAT_EQ(dhidden[1], -1.5f);
  for (const int row : {2, 3}) {
    EXPECT_TRUE(std::isnan(losses[row]));
    EXPECT_TRUE(std::isnan(dhidden[row]));
  }
}

// A target that is all but certain, and whose product with the multiplier is rounded.
TEST_F(VocabOpsOnDevice, LossIsNeverNegative) {
  constexpr std::int64_t kTokens = 200;
  const float table[] = {1, -1};
  const Tensors tensors{random_uniform({kTokens, 1}, "h", 100, 200),
                        Tensor::from(table, {2, 1}),
                        random_tokens(kTokens, 1),
                        filled({kTokens}),
                        filled({kTokens, 1}),
                        filled({2, 1})};
  for (const bool with_gradients : {false, true}) {
    const Tensors result = run_on(device(), tensors, [=](const Tensors& t, Stream stream) {
      const CrossEntropyInputs inputs{t[0], t[1], t[2], 1.1f};
      if (with_gradients) return cross_entropy_forward_backward(inputs, 1.0f, t[3], t[4], t[5], stream);
      cross_entropy_forward(inputs, t[3], stream);
    });
    for (const float loss : result[3].span<float>()) EXPECT_GE(loss, 0.0f);
  }
}

TEST_F(VocabOpsOnDevice, CrossEntropyInSeveralBlocksOfTokens) {
  expect_cross_entropy(2100, 9, 3, 1.0f, DType::kBFloat16);
}

// A NaN or a probability of 0 that fills a thread's whole share of a row.
TEST_F(VocabOpsOnDevice, CrossEntropyWithOneOddLogit) {
  for (const auto& [odd, is_nan] : {std::pair{kNan, true}, {-kInfinity, false}}) {
    const Tensor weight = random_normal({4097, 1}, "w");
    weight.data<float>()[4096] = odd;
    const std::int32_t ids[] = {3};
    const Tensors result = run_on(device(), {filled({1, 1}), weight, Tensor::from(ids, {1}), filled({1})},
                                  [](const Tensors& t, Stream stream) {
                                    cross_entropy_forward({t[0], t[1], t[2], 1.0f}, t[3], stream);
                                  });
    EXPECT_EQ(std::isnan(*result[3].data<float>()), is_nan);
  }
}

// ---- optimizer_update

void adamw(const Tensors& t, Stream stream) {
  adamw_update({.weight = t[0],
                .exp_avg = t[1],
                .exp_avg_sq = t[2],
                .gradient = t[3],
                .gradient_scale = 0.5f,
                .lr = 0.03f,
                .beta1 = 0.8f,
                .beta2 = 0.9f,
                .eps = 1e-3f,
                .decay = 0.01f,
                .bias_correction1 = 0.36f,
                .bias_correction2 = 0.19f},
               stream);
}

TEST_F(VocabOpsOnDevice, AdamW) {
  for (const std::int64_t n : {0, 1, 7, 63, 64, 65, 1000, 5001}) {
    const Tensors tensors{random_normal({n}, "w"), random_normal({n}, "m"), random_uniform({n}, "v", 0, 1),
                          random_normal({n}, "g")};
    expect_as_on_host(tensors, adamw);
    if (n == 65) expect_unaligned_as_on_host(tensors, adamw);
  }
}

TEST_F(VocabOpsOnDevice, MomentumAndDirection) {
  for (const bool nesterov : {false, true}) {
    const Op muon = [=](const Tensors& t, Stream stream) {
      momentum_update({.momentum_buffer = t[0],
                       .gradient = t[1],
                       .direction = t[1],
                       .gradient_scale = 0.5f,
                       .momentum = 0.9f,
                       .nesterov = nesterov},
                      stream);
      direction_update({.weight = t[2], .direction = t[1], .lr = 0.03f, .decay = 0.01f}, stream);
    };
    for (const std::int64_t n : {0, 1, 7, 63, 64, 65, 1000, 5001}) {
      const Tensors tensors{random_normal({n}, "u"), random_normal({n}, "g"), random_normal({n}, "w")};
      expect_as_on_host(tensors, muon);
      if (n == 65) expect_unaligned_as_on_host(tensors, muon);
    }
  }
}

TEST_F(VocabOpsOnDevice, NewtonSchulz) {
  for (const std::int64_t n : {0, 1, 7, 16, 33, 64}) {
    for (const DType dtype : kFloatTypes) {
      const Tensors tensors{random_normal({n, n}, "x", 1, 0, 1, dtype), random_normal({n, n}, "x2", 1, 0, 1, dtype),
                            random_normal({n, n}, "from"), filled({n, n}, dtype)};
      const Op op = [](const Tensors& t, Stream stream) {
        matrix_polynomial({3.5f, -1.25f, 0.75f}, t[0], t[1], t[1], stream);
        const Tensor square_sum = Tensor::zeros({1}, DType::kFloat64, t[2].device());
        add_sum_of_squares(t[2], 1, square_sum, stream);
        divide_by_norm(t[2], square_sum, 1.5f, t[3], stream);
      };
      expect_as_on_host(tensors, op);
    }
  }
}

TEST_F(VocabOpsOnDevice, SliceCopy) {
  for (const ParameterSlice& slice : {ParameterSlice{}, {0, 1, 4}, {1, 2, 5}, {2, 1, 2}}) {
    const SliceMap map({5, 6, 3}, slice);
    for (const std::int64_t begin : {std::int64_t{0}, map.numel() / 2, map.numel()}) {
      const std::int64_t n = map.numel() - begin;
      const Op op = [&](const Tensors& t, Stream stream) {
        put_part(map, begin, t[0], t[1], stream);
        take_part(map, begin, t[2], t[3], stream);
      };
      expect_as_on_host(
          {random_normal({n}, "a"), random_normal({5, 6, 3}, "b"), random_normal({5, 6, 3}, "c"), filled({n})}, op);
    }
  }
}

TEST_F(VocabOpsOnDevice, Sgd) {
  for (const bool nesterov : {false, true}) {
    const Op sgd = [=](const Tensors& t, Stream stream) {
      sgd_update({.weight = t[0],
                  .momentum_buffer = t[1],
                  .gradient = t[2],
                  .gradient_scale = 0.5f,
                  .lr = 0.03f,
                  .momentum = 0.9f,
                  .nesterov = nesterov,
                  .decay = 0.01f},
                 stream);
    };
    for (const std::int64_t n : {0, 1, 7, 63, 64, 65, 1000, 5001}) {
      const Tensors tensors{random_normal({n}, "w"), random_normal({n}, "u"), random_normal({n}, "g")};
      expect_as_on_host(tensors, sgd);
      if (n == 65) expect_unaligned_as_on_host(tensors, sgd);
    }
  }
}

}  // namespace
}  // namespace mudelta::testing
