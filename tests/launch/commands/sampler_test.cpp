#include "launch/commands/sampler.h"

#include <gmock/gmock.h>

#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "tests/support/errors.h"

namespace mudelta {
namespace {

constexpr std::array<float, 5> kLogits{1.0f, 3.0f, -2.0f, 3.0f, 2.0f};

std::set<std::int32_t> drawn(const SamplingOptions& options) {
  std::set<std::int32_t> tokens;
  for (std::uint64_t i = 0; i < 3000; ++i) tokens.insert(sample(kLogits, options, i));
  return tokens;
}

TEST(Sampler, TemperatureZeroTakesTheFirstOfTheLargest) {
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(sample(kLogits, {.temperature = 0}, i), 1);
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  constexpr int kDraws = 40000;
  for (const double temperature : {0.7, 1.0, 2.0}) {
    std::array<double, 5> expected{}, found{};
    double total = 0;
    for (std::size_t i = 0; i < 5; ++i) total += expected[i] = std::exp(kLogits[i] / temperature);
    for (int i = 0; i < kDraws; ++i) {
      found[static_cast<std::size_t>(sample(kLogits, {.temperature = temperature}, static_cast<std::uint64_t>(i)))] +=
          1.0 / kDraws;
    }
    for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(found[i], expected[i] / total, 0.012);
  }
}

TEST(Sampler, TopKAndTopPKeepTheMostLikely) {
  using ::testing::ElementsAre;
  EXPECT_THAT(drawn({.top_k = 1}), ElementsAre(1));
  EXPECT_THAT(drawn({.top_k = 2}), ElementsAre(1, 3));
  EXPECT_THAT(drawn({.top_k = 3}), ElementsAre(1, 3, 4));
  EXPECT_THAT(drawn({.top_k = 99}), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(drawn({.top_p = 1e-9}), ElementsAre(1));
  EXPECT_THAT(drawn({.top_p = 0.75}), ElementsAre(1, 3));  // 0.41 and 0.41
  EXPECT_THAT(drawn({.top_k = 2, .top_p = 0.9}), ElementsAre(1, 3));
}

TEST(Sampler, ExtremeLogitsGiveTheLargest) {
  const std::array<float, 3> logits{-1e30f, 1e30f, 0.0f};
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(sample(logits, {}, i), 1);
}

TEST(Sampler, OptionsThatMakeNoSense) {
  using ::testing::HasSubstr;
  EXPECT_THAT(testing::error_of([] { validate({.temperature = -1}); }), HasSubstr("--temperature is -1"));
  EXPECT_THAT(testing::error_of([] { validate({.temperature = std::numeric_limits<double>::quiet_NaN()}); }),
              HasSubstr("--temperature is nan"));
  EXPECT_THAT(testing::error_of([] { validate({.top_p = 1.5}); }), HasSubstr("--top-p is 1.5"));
}

}  // namespace
}  // namespace mudelta
