#include "optim/newton_schulz.h"

#include <gmock/gmock.h>

#include <cmath>

#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/random.h"

namespace mudelta::testing {
namespace {

using ::testing::HasSubstr;
using Vector = std::vector<double>;

MuonConfig config_of(MuonConfig::Coefficients coefficients, MuonConfig::Dtype dtype, int iterations = 5) {
  MuonConfig config;
  config.set_coefficients(coefficients);
  config.set_orthogonalize_dtype(dtype);
  config.set_iterations(iterations);
  return config;
}

Vector product(const Vector& a, const Vector& b, std::size_t m, std::size_t k, std::size_t n) {
  Vector c(m * n);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < k; ++j) {
      for (std::size_t l = 0; l < n; ++l) c[i * n + l] += a[i * k + j] * b[j * n + l];
    }
  }
  return c;
}

Vector transposed(const Vector& a, std::size_t rows, std::size_t cols) {
  Vector t(a.size());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < cols; ++j) t[j * rows + i] = a[i * cols + j];
  }
  return t;
}

// Of U V^T, by Newton's iteration X <- (3 X - X X^T X) / 2 in float64, to its end.
Vector polar_factor(Vector x, std::size_t rows, std::size_t cols) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  for (double& value : x) value /= std::sqrt(squares);
  for (int i = 0; i < 40; ++i) {
    const Vector cube = product(product(x, transposed(x, rows, cols), rows, cols, rows), x, rows, rows, cols);
    for (std::size_t j = 0; j < x.size(); ++j) x[j] = 1.5 * x[j] - 0.5 * cube[j];
  }
  return x;
}

double relative_error(const Tensor& actual, const Vector& expected) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(actual.data<float>()[i] - expected[i], 2);
    size += expected[i] * expected[i];
  }
  return std::sqrt(difference / size);
}

Tensor orthogonal(const Tensor& x, const MuonConfig& config) {
  const Tensor y = x.clone();
  orthogonalize(y, config, Tensor::zeros({1}, DType::kFloat64), {});
  return y;
}

TEST(NewtonSchulz, PolarExpressIsThePolarFactor) {
  for (const auto& [rows, cols] : {std::pair<int, int>{1, 1}, {1, 7}, {7, 1}, {8, 24}, {24, 8}, {33, 47}, {64, 17}}) {
    const Tensor x = random_normal({rows, cols}, "x");
    const Vector expected = polar_factor(to_doubles(x), static_cast<std::size_t>(rows), static_cast<std::size_t>(cols));
    SCOPED_TRACE(std::to_string(rows) + "x" + std::to_string(cols));
    EXPECT_LT(relative_error(orthogonal(x, config_of(MuonConfig::POLAR_EXPRESS, MuonConfig::FLOAT32, 8)), expected),
              2e-4);
    EXPECT_LT(relative_error(orthogonal(x, config_of(MuonConfig::POLAR_EXPRESS, MuonConfig::FLOAT32)), expected), 0.15);
    EXPECT_LT(relative_error(orthogonal(x, config_of(MuonConfig::POLAR_EXPRESS, MuonConfig::BFLOAT16)), expected),
              0.15);
    EXPECT_LT(relative_error(orthogonal(x, config_of(MuonConfig::SIMPLE, MuonConfig::FLOAT32)), expected), 0.35);
  }
}

// The size of what comes in does not matter, nor its being tiny or huge.
TEST(NewtonSchulz, KnowsNoScale) {
  const Tensor x = random_normal({12, 20}, "x"), tiny = x.clone(), huge = x.clone();
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    tiny.data<float>()[i] *= 0x1p-10f;
    huge.data<float>()[i] *= 0x1p60f;
  }
  const MuonConfig config = config_of(MuonConfig::POLAR_EXPRESS, MuonConfig::FLOAT32);
  const Vector expected = to_doubles(orthogonal(x, config));
  EXPECT_LT(relative_error(orthogonal(tiny, config), expected), 1e-4);
  EXPECT_LT(relative_error(orthogonal(huge, config), expected), 1e-4);
}

TEST(NewtonSchulz, ZerosStayZeros) {
  const Tensor y = orthogonal(Tensor::zeros({5, 3}), MuonConfig());
  for (const double value : to_doubles(y)) EXPECT_EQ(value, 0);
  EXPECT_EQ(orthogonal(Tensor::zeros({0, 3}), MuonConfig()).numel(), 0);
}

// Of rank one: only one direction is there to be made a unit.
TEST(NewtonSchulz, KeepsTheRank) {
  const Tensor x = Tensor::zeros({4, 6});
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 6; ++j) x.data<float>()[i * 6 + j] = static_cast<float>((i + 1) * (j - 2));
  }
  double squares = 0;
  for (const double value : to_doubles(orthogonal(x, config_of(MuonConfig::POLAR_EXPRESS, MuonConfig::FLOAT32, 8)))) {
    squares += value * value;
  }
  EXPECT_NEAR(squares, 1, 1e-4);
}

TEST(NewtonSchulz, RefusesWhatIsNoMatrix) {
  const Tensor square_sum = Tensor::zeros({1}, DType::kFloat64);
  const auto error = [&](const Tensor& x) { return error_of([&] { orthogonalize(x, MuonConfig(), square_sum, {}); }); };
  EXPECT_THAT(error(Tensor::zeros({3})), HasSubstr("expected a float32 matrix"));
  EXPECT_THAT(error(Tensor::zeros({3, 3}, DType::kBFloat16)), HasSubstr("expected a float32 matrix"));
}

}  // namespace
}  // namespace mudelta::testing
