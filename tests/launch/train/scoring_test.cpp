// Run under mpirun with 1 and 3 ranks.

#include "launch/train/scoring.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "launch/config/run_config.h"
#include "launch/train/stored_model.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

// Of tokens [first, size), by the logits of each window alone.
Score expected_score(const LanguageModel& model, const ScoredTokens& text, std::int64_t window) {
  Score score;
  const auto inputs = std::ssize(text.tokens) - 1;
  for (std::int64_t begin = 0; begin < inputs; begin += window) {
    const std::int64_t end = std::min(inputs, begin + window);
    const std::vector<std::int32_t> part(text.tokens.begin() + begin, text.tokens.begin() + end);
    const std::int32_t ends[] = {0, static_cast<std::int32_t>(part.size())};
    const Tensor logits =
        model.logits({Tensor::from(part, {std::ssize(part)}), Tensor::from(ends, {2})}, nullptr, Stream());
    for (std::int64_t t = std::max(begin + 1, text.first); t <= end; ++t) {
      const auto row = logits.slice(t - 1 - begin, t - begin).span<float>();
      const std::int32_t token = text.tokens[static_cast<std::size_t>(t)];
      double sum = 0;
      for (const float logit : row) sum += std::exp(static_cast<double>(logit));
      score.logprob += row[static_cast<std::size_t>(token)] - std::log(sum);
      score.is_greedy = score.is_greedy && std::ranges::max_element(row) - row.begin() == token;
    }
  }
  return score;
}

TEST(Scoring, IsThatOfEachTextAloneOnAnyNumberOfRanks) {
  RunConfig config;
  *config.mutable_model() = resolve(small_config());
  config = with_defaults(config);
  StoredModel stored(config, {});
  initialize(stored.store, 1);
  const LanguageModel& model = stored.model;
  const Mesh mesh(ProcessGroup::world());
  const CounterRng rng(1, "texts");
  const auto vocabulary = static_cast<std::uint64_t>(config.model().vocab_size());
  std::vector<ScoredTokens> texts;
  std::uint64_t drawn = 0;
  for (const std::int64_t size : {2, 3, 30, 7, 12, 2, 25, 11}) {
    ScoredTokens& text = texts.emplace_back();
    for (std::int64_t t = 0; t < size; ++t) {
      text.tokens.push_back(static_cast<std::int32_t>(rng.bits(drawn++) % vocabulary));
    }
    text.first = 1 + static_cast<std::int64_t>(rng.bits(drawn++) % static_cast<std::uint64_t>(size - 1));
  }
  // One that the model would have written.
  ScoredTokens greedy{.tokens = {1, 2, 3}, .first = 3};
  for (int t = 0; t < 3; ++t) {
    const std::int32_t ends[] = {0, static_cast<std::int32_t>(greedy.tokens.size())};
    const Tensor logits =
        model.logits({Tensor::from(greedy.tokens, {ends[1]}), Tensor::from(ends, {2})}, nullptr, Stream());
    const auto last = logits.slice(ends[1] - 1, ends[1]).span<float>();
    greedy.tokens.push_back(static_cast<std::int32_t>(std::ranges::max_element(last) - last.begin()));
  }
  texts.push_back(greedy);

  for (const std::int64_t window : {1, 5, 11, 100}) {
    for (const std::int64_t batch : {1, 3, 64}) {
      for (const bool wants_greedy : {false, true}) {
        const auto scores =
            score(model, texts, {.window = window, .batch = batch, .wants_greedy = wants_greedy}, mesh, Stream());
        ASSERT_EQ(scores.size(), texts.size());
        for (std::size_t i = 0; i < texts.size(); ++i) {
          const Score expected = expected_score(model, texts[i], window);
          EXPECT_NEAR(scores[i].logprob, expected.logprob, 1e-4) << i << ", window " << window;
          EXPECT_EQ(scores[i].is_greedy, !wants_greedy || expected.is_greedy) << i;
        }
        if (wants_greedy && window == 100) {
          EXPECT_TRUE(scores.back().is_greedy);
        }
      }
    }
  }
}

}  // namespace
}  // namespace mudelta::testing
