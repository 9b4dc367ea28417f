// Generation's path (logits with a carried state) against training's (losses of whole sequences).

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "model/mixer.h"
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

using Lengths = std::vector<std::int64_t>;

// Feeds every sequence of `input` in pieces: `pieces[i][j]` tokens of sequence j in call i. Returns all logits in the
// order of `input`, one vector a token.
std::vector<std::vector<double>> logits_in_pieces(const LanguageModel& model, const PackedTokens& input,
                                                  const std::vector<Lengths>& pieces) {
  const auto sequences = static_cast<std::size_t>(input.cu_seqlens.numel() - 1);
  const auto starts = input.cu_seqlens.span<std::int32_t>();
  DecodeState state = model.make_state(static_cast<std::int64_t>(sequences));
  std::vector<std::int64_t> next(starts.begin(), starts.end() - 1);
  std::vector<std::vector<double>> result(static_cast<std::size_t>(input.tokens.numel()));
  for (const Lengths& lengths : pieces) {
    std::vector<std::int32_t> tokens;
    std::vector<std::int64_t> rows;
    for (std::size_t j = 0; j < sequences; ++j) {
      for (std::int64_t i = 0; i < lengths[j]; ++i, ++next[j]) {
        tokens.push_back(input.tokens.data<std::int32_t>()[next[j]]);
        rows.push_back(next[j]);
      }
    }
    const Tensor logits = model.logits({int_tensor(tokens), cu_seqlens_of(lengths)}, &state, Stream{});
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      result[static_cast<std::size_t>(rows[i])] = to_doubles(logits.slice(row, row + 1));
    }
  }
  return result;
}

std::vector<std::vector<double>> logits_at_once(const LanguageModel& model, const PackedTokens& input) {
  const Tensor logits = model.logits(input, nullptr, Stream{});
  std::vector<std::vector<double>> rows;
  for (std::int64_t i = 0; i < logits.size(0); ++i) rows.push_back(to_doubles(logits.slice(i, i + 1)));
  return rows;
}

void expect_rows_close(const std::vector<std::vector<double>>& actual, const std::vector<std::vector<double>>& expected,
                       double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_TRUE(close(actual[i], expected[i], tolerance)) << "row " << i;
}

std::int64_t argmax(const std::vector<double>& values) { return std::ranges::max_element(values) - values.begin(); }

TEST(Decode, TokenByTokenIsTheWholeText) {
  SmallModel small(small_config(), DType::kFloat32, {.logits = 0.7, .residual = 0.6});
  const PackedTokens input = make_batch(Lengths{80}, small.config.vocab_size()).input;
  const auto expected = logits_at_once(small.model, input);
  const auto actual = logits_in_pieces(small.model, input, std::vector<Lengths>(80, {1}));
  expect_rows_close(actual, expected, 1e-4);
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(argmax(actual[i]), argmax(expected[i])) << "row " << i;
}

TEST(Decode, PrefillThenSingleTokens) {
  SmallModel small(small_config());
  const PackedTokens input = make_batch(Lengths{75}, small.config.vocab_size()).input;
  expect_rows_close(logits_in_pieces(small.model, input, {{1}, {2}, {66}, {1}, {1}, {3}, {1}}),
                    logits_at_once(small.model, input), 1e-4);
}

TEST(Decode, SequencesKeepTheirOwnStates) {
  SmallModel small(small_config());
  const PackedTokens input = make_batch(Lengths{9, 6}, small.config.vocab_size()).input;
  const std::vector<Lengths> pieces{{5, 2}, {1, 1}, {1, 0}, {0, 2}, {1, 1}, {1, 0}};
  expect_rows_close(logits_in_pieces(small.model, input, pieces), logits_at_once(small.model, input), 1e-4);
}

TEST(Decode, WorksWithoutConvolutionHistory) {
  ModelConfig config = small_config();
  config.set_conv_size(1);
  SmallModel small(config);
  const PackedTokens input = make_batch(Lengths{9}, small.config.vocab_size()).input;
  expect_rows_close(logits_in_pieces(small.model, input, std::vector<Lengths>(9, {1})),
                    logits_at_once(small.model, input), 1e-4);
}

TEST(Decode, BFloat16TokenByTokenIsTheWholeText) {
  SmallModel small(small_config(), DType::kBFloat16);
  const PackedTokens input = make_batch(Lengths{40}, small.config.vocab_size()).input;
  expect_rows_close(logits_in_pieces(small.model, input, std::vector<Lengths>(40, {1})),
                    logits_at_once(small.model, input), 3e-2);
}

TEST(Decode, LogitsAreThoseOfTheLosses) {
  for (const bool tied : {true, false}) {
    ModelConfig config = small_config();
    config.set_tie_embeddings(tied);
    SmallModel small(config, DType::kFloat32, {.logits = 0.7, .residual = 0.6});
    const SmallBatch batch = make_batch(Lengths{30, 12}, small.config.vocab_size());
    const auto logits = logits_at_once(small.model, batch.input);
    std::vector<double> expected;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const std::int32_t target = batch.targets.data<std::int32_t>()[i];
      const double largest = logits[i][static_cast<std::size_t>(argmax(logits[i]))];
      double sum = 0;
      for (const double logit : logits[i]) sum += std::exp(logit - largest);
      expected.push_back(target < 0 ? 0 : largest + std::log(sum) - logits[i][static_cast<std::size_t>(target)]);
    }
    EXPECT_TRUE(close(small.model.losses(batch.input, batch.targets, Stream{}), expected, 1e-5));
  }
}

// Backward would take the carried state for zeros.
TEST(Decode, ACarriedStateHasNoBackwardPass) {
  SmallModel small(small_config());
  const Mixer mixer(small.config, small.store, "model.layers.0.attn.");
  const Tensor x = Tensor::zeros({3, small.config.width()}), residual = Tensor::zeros({3, small.config.width()});
  const auto forward = [&](MixerState* state, Activations::Mode mode) {
    Pass pass{.cu_seqlens = cu_seqlens_of(Lengths{3}), .activations = Activations(mode)};
    mixer.forward_add(x, residual, state, pass);
  };
  MixerState state = mixer.make_state(1, {});
  EXPECT_THAT(error_of([&] { forward(&state, Activations::Mode::kKeep); }), ::testing::HasSubstr("carries a state"));
  forward(&state, Activations::Mode::kDiscard);
  forward(nullptr, Activations::Mode::kKeep);
}

}  // namespace
}  // namespace mudelta::testing
