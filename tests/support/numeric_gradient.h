#pragma once

#include <cmath>
#include <cstddef>
#include <functional>
#include <vector>

namespace mudelta::testing {

using Vector = std::vector<double>;

// Gradient of sum(dy * f(x)) by central differences in float64: an oracle for a backward pass that shares nothing with
// it but the definition of f. Good to about nine digits.
inline Vector numeric_gradient(const std::function<Vector(const Vector&)>& f, Vector x, const Vector& dy) {
  Vector gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double value = x[i], step = 1e-5 * std::max(1.0, std::abs(value));
    x[i] = value + step;
    const Vector above = f(x);
    x[i] = value - step;
    const Vector below = f(x);
    x[i] = value;
    for (std::size_t j = 0; j < dy.size(); ++j) gradient[i] += dy[j] * (above[j] - below[j]) / (2 * step);
  }
  return gradient;
}

inline Vector plus(Vector a, const Vector& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

}  // namespace mudelta::testing
