// What the training path promises whatever the kernels do: sums over microbatches, recomputation, packing, repeats.

#include <gtest/gtest.h>

#include <vector>

#include "core/allocator.h"
#include "tests/support/compare.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

using Lengths = std::vector<std::int64_t>;

std::vector<Tensor> gradients_of(const SmallModel& small) {
  std::vector<Tensor> gradients;
  for (const Parameter& parameter : small.store.parameters()) gradients.push_back(parameter.gradient.clone());
  return gradients;
}

struct Result {
  Tensor losses;
  std::vector<Tensor> gradients;
};

Result run(SmallModel& small, const SmallBatch& batch, double gradient_scale = 1) {
  small.store.zero_gradients();
  Tensor losses = small.model.losses_and_gradients(batch.input, batch.targets, gradient_scale, Stream{});
  return {std::move(losses), gradients_of(small)};
}

void expect_same_bits(const Result& actual, const Result& expected) {
  EXPECT_TRUE(same_bits(actual.losses, expected.losses));
  for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
    EXPECT_TRUE(same_bits(actual.gradients[i], expected.gradients[i])) << "parameter " << i;
  }
}

void expect_gradients_close(const SmallModel& small, const std::vector<Tensor>& actual,
                            const std::vector<Tensor>& expected, double tolerance) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(close(actual[i], expected[i], tolerance)) << small.store.parameters()[i].spec.name;
  }
}

// Rows [begin, end) of a batch as one document of their own.
SmallBatch document(const SmallBatch& batch, std::int64_t begin, std::int64_t end) {
  return {{batch.input.tokens.slice(begin, end).clone(), cu_seqlens_of(Lengths{end - begin})},
          batch.targets.slice(begin, end).clone()};
}

SmallModel medium_model(DType dtype) {
  ModelConfig config = small_config();
  config.set_width(64);
  config.set_head_dim(24);
  config.set_expand_v(1.5);
  config.set_vocab_size(50);
  return SmallModel(config, dtype);
}

TEST(Training, GradientsAccumulateOverMicrobatches) {
  SmallModel small(small_config());
  const SmallBatch whole = make_batch(Lengths{9, 14}, small.config.vocab_size());
  const Result expected = run(small, whole);

  small.store.zero_gradients();
  for (const auto& [begin, end] : {std::pair{0, 9}, std::pair{9, 23}}) {
    const SmallBatch part = document(whole, begin, end);
    small.model.losses_and_gradients(part.input, part.targets, 1, Stream{});
  }
  expect_gradients_close(small, gradients_of(small), expected.gradients, 1e-5);
}

TEST(Training, GradientScaleIsLinear) {
  SmallModel small(small_config());
  const SmallBatch batch = make_batch(Lengths{20}, small.config.vocab_size());
  Result expected = run(small, batch);
  const Result tripled = run(small, batch, 3);
  EXPECT_TRUE(same_bits(tripled.losses, expected.losses));
  for (const Tensor& gradient : expected.gradients) {
    for (float& value : gradient.span<float>()) value *= 3;
  }
  expect_gradients_close(small, tripled.gradients, expected.gradients, 1e-5);
}

TEST(Training, TargetsLeftOutCountNothing) {
  SmallModel small(small_config());
  SmallBatch batch = make_batch(Lengths{20}, small.config.vocab_size());
  const Tensor losses = run(small, batch).losses;
  for (std::int64_t i = 0; i < 20; ++i) EXPECT_EQ(losses.data<float>()[i] == 0, i % 5 == 4) << i;

  std::ranges::fill(batch.targets.span<std::int32_t>(), -1);
  const Result none = run(small, batch);
  for (const float loss : none.losses.span<float>()) EXPECT_EQ(loss, 0);
  for (const Tensor& gradient : none.gradients) {
    for (const float value : gradient.span<float>()) EXPECT_EQ(value, 0);
  }
}

TEST(Training, RecomputationChangesNoBit) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    SmallModel keeping(small_config(), dtype);
    const SmallBatch batch = make_batch(Lengths{70, 2, 31}, keeping.config.vocab_size());
    const Result expected = run(keeping, batch);
    for (const auto recompute : {ModelConfig::SELECTIVE, ModelConfig::FULL}) {
      ModelConfig config = small_config();
      config.set_recompute(recompute);
      SmallModel recomputing(config, dtype);
      expect_same_bits(run(recomputing, batch), expected);
    }
  }
}

TEST(Training, RecomputationSavesMemory) {
  std::vector<std::int64_t> peaks;
  for (const auto recompute : {ModelConfig::NONE, ModelConfig::SELECTIVE, ModelConfig::FULL}) {
    ModelConfig config = small_config();
    config.set_layers(8);
    config.set_recompute(recompute);
    SmallModel model(config);
    const SmallBatch batch = make_batch(Lengths{512}, model.config.vocab_size());
    reset_peak_memory({});
    run(model, batch);
    peaks.push_back(memory_stats({}).peak_allocated);
  }
  EXPECT_LT(static_cast<double>(peaks[1]), 0.85 * static_cast<double>(peaks[0]));
  EXPECT_LT(static_cast<double>(peaks[2]), 0.5 * static_cast<double>(peaks[1]));
}

TEST(Training, RepeatsTheSameBits) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    SmallModel first = medium_model(dtype), second = medium_model(dtype);
    const SmallBatch batch = make_batch(Lengths{130, 65}, first.config.vocab_size());
    const Result expected = run(first, batch);
    for (int repeat = 0; repeat < 3; ++repeat) expect_same_bits(run(second, batch), expected);
  }
}

TEST(Training, PackedDocumentsAreSeparateDocuments) {
  SmallModel small(small_config());
  const Lengths lengths{7, 1, 2, 3, 70, 1};  // some shorter than the convolutions, one longer than a chunk
  const SmallBatch packed = make_batch(lengths, small.config.vocab_size());
  const Result together = run(small, packed);

  small.store.zero_gradients();
  std::vector<double> losses;
  for (std::int64_t begin = 0; const std::int64_t length : lengths) {
    const SmallBatch alone = document(packed, begin, begin + length);
    const auto part = to_doubles(small.model.losses_and_gradients(alone.input, alone.targets, 1, Stream{}));
    losses.insert(losses.end(), part.begin(), part.end());
    begin += length;
  }
  EXPECT_TRUE(close(together.losses, losses, 1e-5));
  expect_gradients_close(small, together.gradients, gradients_of(small), 2e-5);
}

TEST(Training, WithoutResetsDocumentsSeeEachOther) {
  SmallModel small(small_config());
  const SmallBatch reset = make_batch(Lengths{10, 15}, small.config.vocab_size());
  const SmallBatch joined{{reset.input.tokens, cu_seqlens_of(Lengths{25})}, reset.targets};
  const Tensor apart = run(small, reset).losses, together = run(small, joined).losses;
  EXPECT_TRUE(close(together.slice(0, 10), apart.slice(0, 10), 1e-5));
  EXPECT_FALSE(close(together.slice(10, 25), apart.slice(10, 25), 1e-2));
}

TEST(Training, EmptyDocumentsChangeNothing) {
  SmallModel small(small_config());
  const SmallBatch plain = make_batch(Lengths{10, 15}, small.config.vocab_size());
  const SmallBatch gaps{{plain.input.tokens, cu_seqlens_of(Lengths{0, 10, 0, 0, 15, 0})}, plain.targets};
  expect_same_bits(run(small, gaps), run(small, plain));
}

TEST(Training, AnEmptyBatchDoesNothing) {
  SmallModel small(small_config());
  const Result nothing = run(small, make_batch(Lengths{0}, small.config.vocab_size()));
  EXPECT_EQ(nothing.losses.numel(), 0);
  for (const Tensor& gradient : nothing.gradients) {
    for (const float value : gradient.span<float>()) EXPECT_EQ(value, 0);
  }
}

// At the initial values of training. At randomize()'s, rounding the weights alone moves gradients by several percent:
// where q . k happens to be small, the norm of the mixer's output magnifies every error.
TEST(Training, BFloat16StaysCloseToFloat32) {
  SmallModel exact = medium_model(DType::kFloat32), rounded = medium_model(DType::kBFloat16);
  initialize(exact.store, 1);
  initialize(rounded.store, 1);
  const SmallBatch batch = make_batch(Lengths{100, 60}, exact.config.vocab_size());
  const Result expected = run(exact, batch), actual = run(rounded, batch);
  EXPECT_TRUE(close(actual.losses, expected.losses, 2e-3));
  EXPECT_FALSE(same_bits(actual.losses, expected.losses));
  expect_gradients_close(exact, actual.gradients, expected.gradients, 4e-2);
}

}  // namespace
}  // namespace mudelta::testing
