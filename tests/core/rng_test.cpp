#include "core/rng.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <set>
#include <string>

namespace mudelta {
namespace {

using Counter = std::array<std::uint32_t, 4>;

// Known answers published with Random123 (philox4x32, 10 rounds).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CounterRng, DependsOnSeedNameAndIndexOnly) {
  const CounterRng rng(1, "a");
  const std::uint64_t later = rng.bits(1000);
  EXPECT_EQ(CounterRng(1, "a").bits(1000), later);
  EXPECT_NE(CounterRng(2, "a").bits(1000), later);
  EXPECT_NE(CounterRng(1, "b").bits(1000), later);
  EXPECT_NE(rng.bits(1001), later);
  EXPECT_NE(rng.bits(1000 + (std::uint64_t{1} << 32)), later);  // the upper half of the index counts
}

// These values make every model and data order: a change of them breaks old checkpoints' reproducibility.
TEST(CounterRng, ValuesNeverChange) {
  const CounterRng rng(1, "model.embeddings.weight");
  EXPECT_EQ(rng.bits(0), 0xf86abc14efed4750u);
  EXPECT_EQ(rng.bits(12345678901), 0x934b872fe1ec12a1u);
  EXPECT_EQ(rng.uniform(3), 0.29457461557425046);
  EXPECT_DOUBLE_EQ(rng.normal(3), 1.4820210795910336);
}

TEST(CounterRng, UniformMoments) {
  const CounterRng rng(1, "uniform");
  constexpr int kCount = 200'000;
  double sum = 0, squares = 0, lowest = 1, highest = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = rng.uniform(i);
    sum += x;
    squares += x * x;
    lowest = std::min(lowest, x);
    highest = std::max(highest, x);
  }
  EXPECT_GT(lowest, 0);
  EXPECT_LT(highest, 1);
  EXPECT_LT(lowest, 1e-4);
  EXPECT_GT(highest, 1 - 1e-4);
  EXPECT_NEAR(sum / kCount, 0.5, 0.004);  // six standard errors
  EXPECT_NEAR(squares / kCount, 1.0 / 3, 0.004);
}

TEST(CounterRng, NormalMoments) {
  const CounterRng rng(1, "normal");
  constexpr int kCount = 200'000;
  double sums[5] = {};
  double product = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = rng.normal(i);
    ASSERT_TRUE(std::isfinite(x));
    for (int power = 1; power <= 4; ++power) sums[power] += std::pow(x, power);
    product += x * rng.normal(i + 1);
  }
  const double error = 1 / std::sqrt(double{kCount});
  EXPECT_NEAR(sums[1] / kCount, 0, 5 * error);
  EXPECT_NEAR(sums[2] / kCount, 1, 5 * std::sqrt(2) * error);
  EXPECT_NEAR(sums[3] / kCount, 0, 5 * std::sqrt(15) * error);
  EXPECT_NEAR(sums[4] / kCount, 3, 5 * std::sqrt(96) * error);
  EXPECT_NEAR(product / kCount, 0, 5 * error);  // neighbours are uncorrelated
}

TEST(CounterRng, ManyStreamsDoNotCollide) {
  std::set<std::uint64_t> values;
  for (int name = 0; name < 100; ++name) {
    const CounterRng rng(1, "layers." + std::to_string(name));
    for (int i = 0; i < 100; ++i) values.insert(rng.bits(i));
  }
  EXPECT_EQ(values.size(), 10'000u);
}

RC_GTEST_PROP(CounterRng, IndependentOfTheOrderOfAsking, (std::uint64_t seed, std::uint64_t a, std::uint64_t b)) {
  const CounterRng forwards(seed, "order"), backwards(seed, "order");
  const double first_a = forwards.normal(a), first_b = forwards.normal(b);
  const double last_b = backwards.normal(b), last_a = backwards.normal(a);
  RC_ASSERT(first_a == last_a);
  RC_ASSERT(first_b == last_b);
}

}  // namespace
}  // namespace mudelta
