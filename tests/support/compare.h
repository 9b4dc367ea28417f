#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace mudelta::testing {

inline std::vector<double> to_doubles(const Tensor& tensor) {
  if (tensor.dtype() == DType::kFloat64) return {tensor.data<double>(), tensor.data<double>() + tensor.numel()};
  const Tensor wide = tensor.to(DType::kFloat32);
  const auto values = wide.span<float>();
  return {values.begin(), values.end()};
}

// RMS of the difference over the RMS of `expected` (or over 1e-30). NaN wherever a value is not finite.
inline double relative_rms_error(std::span<const double> actual, std::span<const double> expected) {
  double difference = 0, reference = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    reference += expected[i] * expected[i];
  }
  return std::sqrt(difference) / std::max(std::sqrt(reference), 1e-30);
}

// Passes if the relative RMS error is at most `tolerance`, or every difference at most `absolute`. NaN fails.
inline ::testing::AssertionResult close(std::span<const double> actual, std::span<const double> expected,
                                        double tolerance, double absolute = 0) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " values, expected " << expected.size();
  }
  double worst = 0;
  std::size_t worst_index = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(actual[i])) {
      return ::testing::AssertionFailure() << "value " << i << " is " << actual[i] << ", expected " << expected[i];
    }
    const double difference = std::abs(actual[i] - expected[i]);
    if (!(difference <= worst)) worst = difference, worst_index = i;
  }
  const double error = relative_rms_error(actual, expected);
  if (error <= tolerance || worst <= absolute) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "relative RMS error " << error << " > " << tolerance << "; worst at "
                                       << worst_index << ": " << actual[worst_index] << ", expected "
                                       << expected[worst_index];
}

inline ::testing::AssertionResult close(const Tensor& actual, std::span<const double> expected, double tolerance,
                                        double absolute = 0) {
  return close(to_doubles(actual), expected, tolerance, absolute);
}

inline ::testing::AssertionResult close(const Tensor& actual, const Tensor& expected, double tolerance,
                                        double absolute = 0) {
  return close(to_doubles(actual), to_doubles(expected), tolerance, absolute);
}

// Same shape, dtype and bits.
inline ::testing::AssertionResult same_bits(const Tensor& actual, const Tensor& expected) {
  if (actual.to_string() != expected.to_string()) {
    return ::testing::AssertionFailure() << actual.to_string() << ", expected " << expected.to_string();
  }
  for (std::int64_t i = 0; i < actual.num_bytes(); ++i) {
    if (actual.raw()[i] != expected.raw()[i]) {
      return ::testing::AssertionFailure() << "first difference at element " << i / size_of(actual.dtype());
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace mudelta::testing
