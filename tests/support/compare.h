#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "tests/support/npy.h"

namespace mudelta::testing {

inline std::vector<double> to_doubles(const Tensor& tensor) {
  if (tensor.dtype() == DType::kFloat64) return {tensor.data<double>(), tensor.data<double>() + tensor.numel()};
  if (tensor.dtype() == DType::kInt32) {
    return {tensor.data<std::int32_t>(), tensor.data<std::int32_t>() + tensor.numel()};
  }
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

// "token 3, head 1, column 5" of an element of [tokens, heads, columns], and the like for other ranks.
inline std::string element_name(std::size_t index, const Shape& shape) {
  using Names = std::vector<const char*>;
  const Names names = shape.rank() == 2   ? Names{"row", "column"}
                      : shape.rank() == 3 ? Names{"token", "head", "column"}
                      : shape.rank() == 4 ? Names{"slot", "head", "row", "column"}
                                          : Names{};
  if (names.empty()) return "element " + std::to_string(index);
  std::string place;
  auto rest = static_cast<std::int64_t>(index);
  for (int dim = shape.rank() - 1; dim >= 0; --dim) {
    place = std::string(names[dim]) + " " + std::to_string(rest % shape[dim]) + (place.empty() ? "" : ", ") + place;
    rest /= shape[dim];
  }
  return place;
}

// Where MUDELTA_DUMP names a folder: writes TEST-N-actual.npy and -expected.npy there, and says so.
inline std::string dump(std::span<const double> actual, std::span<const double> expected, const Shape& shape) {
  const char* folder = std::getenv("MUDELTA_DUMP");
  if (folder == nullptr) return {};
  static int count = 0;
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  std::string name = test == nullptr ? "no-test" : std::string(test->test_suite_name()) + "." + test->name();
  std::ranges::replace(name, '/', '_');
  const std::string path = std::string(folder) + "/" + name + "-" + std::to_string(++count);
  write_npy(path + "-actual.npy", actual, shape);
  write_npy(path + "-expected.npy", expected, shape);
  return "; written to " + path + "-actual.npy and -expected.npy";
}

// Passes if the relative RMS error is at most `tolerance`, or every difference at most `absolute`. NaN fails. A failure
// says how many elements are bad, and which is the first: those that are not finite, or off by more than four times
// what the tolerance allows on average (or than that, where none is).
inline ::testing::AssertionResult close(std::span<const double> actual, std::span<const double> expected,
                                        double tolerance, double absolute, const Shape& shape) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " values, expected " << expected.size();
  }
  double worst = 0, square = 0;
  bool is_finite = true;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    is_finite = is_finite && std::isfinite(actual[i]);
    worst = std::max(worst, std::abs(actual[i] - expected[i]));
    square += expected[i] * expected[i];
  }
  const double error = relative_rms_error(actual, expected);
  if (is_finite && (error <= tolerance || worst <= absolute)) return ::testing::AssertionSuccess();

  const double allowed = std::max(tolerance * std::sqrt(square / static_cast<double>(expected.size())), absolute);
  const double limit = worst > 4 * allowed ? 4 * allowed : allowed;
  std::size_t first = expected.size(), count = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::abs(actual[i] - expected[i]) <= limit) continue;
    first = std::min(first, i);
    ++count;
  }
  auto failure = ::testing::AssertionFailure();
  failure << "relative RMS error " << error << " > " << tolerance << "; " << count << " of " << expected.size()
          << " elements are off by more than " << limit << " (worst " << worst << ")";
  if (count > 0) {
    failure << ", the first is " << element_name(first, shape) << ": " << actual[first] << ", expected " << expected[first];
  }
  return failure << dump(actual, expected, shape);
}

inline ::testing::AssertionResult close(std::span<const double> actual, std::span<const double> expected,
                                        double tolerance, double absolute = 0) {
  return close(actual, expected, tolerance, absolute, {static_cast<std::int64_t>(expected.size())});
}

inline ::testing::AssertionResult close(const Tensor& actual, std::span<const double> expected, double tolerance,
                                        double absolute = 0) {
  return close(to_doubles(actual), expected, tolerance, absolute, actual.shape());
}

inline ::testing::AssertionResult close(const Tensor& actual, const Tensor& expected, double tolerance,
                                        double absolute = 0) {
  return close(to_doubles(actual), to_doubles(expected), tolerance, absolute, actual.shape());
}

// Same shape, dtype and bits. A failure says how many elements differ, and which is the first.
inline ::testing::AssertionResult same_bits(const Tensor& actual, const Tensor& expected) {
  if (actual.to_string() != expected.to_string()) {
    return ::testing::AssertionFailure() << actual.to_string() << ", expected " << expected.to_string();
  }
  if (std::memcmp(actual.raw(), expected.raw(), static_cast<std::size_t>(actual.num_bytes())) == 0) {
    return ::testing::AssertionSuccess();
  }
  const std::int64_t size = size_of(actual.dtype());
  std::int64_t first = actual.numel(), count = 0;
  for (std::int64_t i = 0; i < actual.numel(); ++i) {
    if (std::memcmp(actual.raw() + i * size, expected.raw() + i * size, static_cast<std::size_t>(size)) == 0) continue;
    first = std::min(first, i);
    ++count;
  }
  const auto place = static_cast<std::size_t>(first);
  const std::vector<double> found = to_doubles(actual), wanted = to_doubles(expected);
  return ::testing::AssertionFailure() << count << " of " << actual.numel() << " elements differ, the first is "
                                       << element_name(place, actual.shape()) << ": " << found[place] << ", expected "
                                       << wanted[place] << dump(found, wanted, actual.shape());
}

}  // namespace mudelta::testing
