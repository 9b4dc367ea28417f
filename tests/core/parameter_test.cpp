#include "core/parameter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace mudelta {
namespace {

using Kind = Initializer::Kind;

constexpr int kCount = 50'000;

std::vector<double> draw(Initializer initializer, double spread_multiplier = 1, std::uint64_t seed = 1) {
  const ParameterSpec spec{.name = "layers.0.weight", .shape = {kCount}, .initializer = initializer};
  std::vector<double> values;
  for (int i = 0; i < kCount; ++i) values.push_back(initial_value(spec, seed, spread_multiplier, i));
  return values;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double x : values) sum += x;
  return sum / static_cast<double>(values.size());
}

double deviation(const std::vector<double>& values) {
  const double center = mean(values);
  double sum = 0;
  for (const double x : values) sum += (x - center) * (x - center);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

void expect_inside(const std::vector<double>& values, double low, double high) {
  const auto [least, most] = std::ranges::minmax(values);
  EXPECT_GE(least, low);
  EXPECT_LE(most, high);
  EXPECT_LT(least, low + 0.01 * (high - low));  // the whole range is used
  EXPECT_GT(most, high - 0.01 * (high - low));
}

// Tolerances are five standard errors of 50,000 draws.

TEST(InitialValue, Normal) {
  const auto values = draw({Kind::kNormal, 0.02});
  EXPECT_NEAR(mean(values), 0, 0.02 * 0.023);
  EXPECT_NEAR(deviation(values), 0.02, 0.02 * 0.016);
}

TEST(InitialValue, Uniform) {
  const auto values = draw({Kind::kUniform, -0.5, 1.5});
  expect_inside(values, -0.5, 1.5);
  EXPECT_NEAR(mean(values), 0.5, 0.013);
  EXPECT_NEAR(deviation(values), 2 / std::sqrt(12), 0.01);
}

TEST(InitialValue, Constant) {
  for (const double x : draw({Kind::kConstant, 1}, 3)) ASSERT_EQ(x, 1);
}

TEST(InitialValue, LogOfUniform) {
  std::vector<double> values = draw({Kind::kLogOfUniform, 1, 16}, 3);
  for (double& x : values) x = std::exp(x);
  expect_inside(values, 1, 16);
  EXPECT_NEAR(mean(values), 8.5, 0.1);
}

TEST(InitialValue, InverseSoftplusOfLogUniform) {
  std::vector<double> values = draw({Kind::kInverseSoftplusOfLogUniform, 0.001, 0.1}, 3);
  for (double& x : values) x = std::log(std::log1p(std::exp(x)));
  expect_inside(values, std::log(0.001), std::log(0.1));
  EXPECT_NEAR(mean(values), std::log(0.01), 0.03);
}

TEST(InitialValue, InverseSoftplusOfSmallAndLargeValues) {
  for (const double dt : {1e-9, 1e-3, 1.0, 50.0}) {
    const ParameterSpec spec{.name = "dt", .initializer = {Kind::kInverseSoftplusOfLogUniform, dt, dt}};
    const double x = initial_value(spec, 1, 1, 0);
    EXPECT_NEAR(std::log1p(std::exp(x)) / dt, 1, 1e-9) << dt;
  }
}

TEST(InitialValue, SpreadScalesNormalAndUniform) {
  for (const Initializer initializer : {Initializer{Kind::kNormal, 0.02}, Initializer{Kind::kUniform, -1, 1}}) {
    const auto plain = draw(initializer), doubled = draw(initializer, 2);
    for (int i = 0; i < kCount; ++i) ASSERT_DOUBLE_EQ(doubled[i], 2 * plain[i]);
  }
}

TEST(InitialValue, DependsOnSeedAndName) {
  const Initializer initializer{Kind::kNormal, 1};
  EXPECT_EQ(draw(initializer), draw(initializer));
  EXPECT_NE(draw(initializer)[0], draw(initializer, 1, 2)[0]);
  const ParameterSpec other{.name = "layers.1.weight", .shape = {kCount}, .initializer = initializer};
  EXPECT_NE(draw(initializer)[0], initial_value(other, 1, 1, 0));
}

TEST(Role, Names) {
  EXPECT_EQ(name_of(Role::kEmbedding), "EMBEDDING");
  EXPECT_EQ(name_of(Role::kReadout), "READOUT");
  EXPECT_EQ(name_of(Role::kHidden), "HIDDEN");
  EXPECT_EQ(name_of(Role::kGate), "GATE");
  EXPECT_EQ(name_of(Role::kGateScalar), "GATE_SCALAR");
  EXPECT_EQ(name_of(Role::kConv), "CONV");
  EXPECT_EQ(name_of(Role::kNorm), "NORM");
}

}  // namespace
}  // namespace mudelta
