#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/gemm.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

// Products to be compared with a double loop, on any device.
namespace mudelta::testing {

struct Case {
  std::int64_t m, n, k;
  GemmOptions options;
  DType operands = DType::kFloat32;
  DType result = DType::kFloat32;

  std::string to_string() const {
    return fmt::format("M {} N {} K {} transpose_a {} transpose_b {} accumulate {} {} -> {}", m, n, k,
                       options.transpose_a, options.transpose_b, options.accumulate, name_of(operands),
                       name_of(result));
  }
};

// The double loop: op(a) op(b), plus c.
inline std::vector<double> reference(const Tensor& a, const Tensor& b, const std::vector<double>& c, const Case& p) {
  const auto x = to_doubles(a), y = to_doubles(b);
  std::vector<double> out = c;
  for (std::int64_t i = 0; i < p.m; ++i) {
    for (std::int64_t j = 0; j < p.n; ++j) {
      for (std::int64_t l = 0; l < p.k; ++l) {
        out[i * p.n + j] +=
            x[p.options.transpose_a ? l * p.m + i : i * p.k + l] * y[p.options.transpose_b ? j * p.k + l : l * p.n + j];
      }
    }
  }
  return out;
}

using Multiply = std::function<void(const Tensor& a, const Tensor& b, const Tensor& c, GemmOptions options)>;

// Whether `multiply`, on tensors of `device`, does what the case asks for.
inline ::testing::AssertionResult fits(const Case& p, const Multiply& multiply, Device device = {}) {
  const Tensor a = random_normal(p.options.transpose_a ? Shape{p.k, p.m} : Shape{p.m, p.k}, "a", 1, 0, 1, p.operands);
  const Tensor b = random_normal(p.options.transpose_b ? Shape{p.n, p.k} : Shape{p.k, p.n}, "b", 1, 0, 1, p.operands);
  const Tensor c = random_normal({p.m, p.n}, "c", 1, 0, 1, p.result);
  // What is not accumulated must be overwritten, NaN included.
  if (!p.options.accumulate) {
    std::fill_n(reinterpret_cast<std::uint8_t*>(c.raw()), c.num_bytes(), std::uint8_t{0xff});
  }
  std::vector<double> start(static_cast<std::size_t>(p.m * p.n));
  if (p.options.accumulate) start = to_doubles(c);
  const auto expected = reference(a, b, start, p);
  const Tensor result_on_device = c.to(device);
  multiply(a.to(device), b.to(device), result_on_device, p.options);
  const Tensor written = result_on_device.to(Device());
  const double tolerance = p.result == DType::kBFloat16 ? 4e-3 : 1e-6;
  const auto result = close(written, expected, tolerance, 1e-6);
  return result ? result : ::testing::AssertionFailure() << p.to_string() << ": " << result.message();
}

}  // namespace mudelta::testing
