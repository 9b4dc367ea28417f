#include "data/blend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "tests/support/errors.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

std::vector<BlendSource> sources(const std::vector<double>& weights, std::int64_t rows = 1'000'000'000) {
  std::vector<BlendSource> all;
  for (const double weight : weights) all.push_back({"source " + std::to_string(all.size()), weight, rows});
  return all;
}

Blend from_the_start(const std::vector<BlendSource>& all, std::uint64_t seed = 1) {
  return {all, seed, 0, std::vector<std::int64_t>(all.size())};
}

TEST(Blend, RowsOfASourceComeInItsOrder) {
  Blend blend = from_the_start(sources({3, 1, 2}));
  std::vector<std::int64_t> next(3);
  for (int row = 0; row < 1000; ++row) {
    EXPECT_EQ(blend.row(), row);
    const auto [source, position] = blend.next();
    ASSERT_LT(source, 3u);
    EXPECT_EQ(position, next[source]++);
    EXPECT_EQ(blend.cursors(), next);
  }
}

// Whatever the weights: an independent draw would be off by hundreds.
RC_GTEST_PROP(Blend, KeepsWithinAFewRowsOfItsShares, ()) {
  std::vector<double> weights;
  for (int exponent : *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::inRange(-30, 10)))) {
    weights.push_back(std::exp2(exponent));
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  Blend blend = from_the_start(sources(weights), *rc::gen::arbitrary<std::uint64_t>());
  for (int row = 1; row <= 20'000; ++row) {
    blend.next();
    if (row % 1000 != 0) continue;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      RC_ASSERT(std::abs(static_cast<double>(blend.cursors()[i]) - row * weights[i] / sum) < 12);
    }
  }
}

TEST(Blend, ExtremeWeights) {
  Blend blend = from_the_start(sources({1, 1e-6}));
  for (int row = 0; row < 10'000'000; ++row) blend.next();
  EXPECT_NEAR(static_cast<double>(blend.cursors()[1]), 10, 3);
  Blend tiny = from_the_start(sources({1e-300, 1e-300, 3e-300}));
  for (int row = 0; row < 10'000; ++row) tiny.next();
  EXPECT_NEAR(static_cast<double>(tiny.cursors()[2]), 6000, 10);
  Blend least = from_the_start(sources({1, 1e-300}));  // no row's point lies in its part
  for (int row = 0; row < 10'000; ++row) EXPECT_EQ(least.next().source, 0u);
}

TEST(Blend, TheSeedSaysWhichRows) {
  const auto drawn = [](std::uint64_t seed) {
    Blend blend = from_the_start(sources({1, 1}), seed);
    std::vector<std::size_t> all;
    for (int row = 0; row < 100; ++row) all.push_back(blend.next().source);
    return all;
  };
  EXPECT_EQ(drawn(7), drawn(7));
  EXPECT_NE(drawn(7), drawn(8));
}

// At any row, as a resume does: no row of a source is lost or comes twice, and the row number alone says what is next.
RC_GTEST_PROP(Blend, WeightsAndSourcesMayChange, ()) {
  constexpr std::int64_t kRows = 50;
  std::map<std::string, std::int64_t> cursors;
  std::map<std::string, std::vector<std::int64_t>> taken;
  std::int64_t row = 0;
  for (int part = 0; part < 6; ++part) {
    std::vector<BlendSource> now;
    std::vector<std::int64_t> begin;
    for (const char* name : {"a", "b", "c", "d"}) {
      if (now.empty() || *rc::gen::inRange(0, 2) == 0) {
        now.push_back({name, std::exp2(*rc::gen::inRange(-4, 4)), kRows});
        begin.push_back(cursors[name]);
      }
    }
    Blend blend(now, 1, row, begin), again(now, 1, row, begin);
    const int count = *rc::gen::inRange(0, 100);
    for (int i = 0; i < count; ++i) {
      const auto [source, position] = blend.next();
      RC_ASSERT(again.next().source == source);
      taken[now[source].name].push_back(position);
    }
    row = blend.row();
    for (std::size_t i = 0; i < now.size(); ++i) cursors[now[i].name] = blend.cursors()[i];
  }
  for (const auto& [name, positions] : taken) {
    for (std::size_t i = 0; i < positions.size(); ++i) RC_ASSERT(positions[i] == static_cast<std::int64_t>(i));
  }
}

TEST(Blend, ASourceEndsAfterItsEpochs) {
  std::vector<BlendSource> all = {{"a", 1, 10, 2}, {"b", 1, 1000, 0}, {"c", 2, 15, 1}};
  Blend blend = from_the_start(all);
  for (int row = 0; row < 500; ++row) {
    blend.next();
    EXPECT_LE(blend.cursors()[0], 20);
    EXPECT_LE(blend.cursors()[2], 15);
  }
  EXPECT_THAT(blend.cursors(), ElementsAre(20, 465, 15));
  blend.require_rows(1'000'000);
}

TEST(Blend, TheOthersShareByTheirWeights) {
  Blend blend = from_the_start({{"a", 6, 100, 1}, {"b", 3, 1'000'000, 0}, {"c", 1, 1'000'000, 0}});
  while (blend.cursors()[0] < 100) blend.next();
  const auto at_its_end = blend.cursors();
  for (int row = 0; row < 4000; ++row) blend.next();
  EXPECT_NEAR(static_cast<double>(blend.cursors()[1] - at_its_end[1]), 3000, 12);
  EXPECT_EQ(blend.cursors()[0], 100);
}

TEST(Blend, AllHaveEnded) {
  Blend blend = from_the_start({{"a", 1, 3, 1}, {"b", 1e-9, 2, 2}});
  blend.require_rows(7);
  EXPECT_THAT(error_of([&] { blend.require_rows(8); }), HasSubstr("end after 7 more rows, expected 8"));
  for (int row = 0; row < 7; ++row) blend.next();
  EXPECT_THAT(blend.cursors(), ElementsAre(3, 4));
  EXPECT_THAT(error_of([&] { blend.next(); }), HasSubstr("all sources have ended before row 7"));
}

TEST(Blend, EpochsThatShrinkEndASourceAtOnce) {
  Blend blend({{"a", 1, 10, 1}, {"b", 1, 10, 0}}, 1, 40, {20, 20});
  for (int row = 0; row < 10; ++row) EXPECT_EQ(blend.next().source, 1u);
}

}  // namespace
}  // namespace mudelta
