#include "launch/checkpoint/checkpoint_difference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "core/error.h"
#include "launch/checkpoint/manifest.h"

namespace mudelta {
namespace {

double larger(double a, double b) { return std::isnan(a) || a >= b ? a : b; }  // NaN is the largest

WeightDifference difference_of(const std::string& parameter, std::span<const float> a, std::span<const float> b) {
  WeightDifference result = {.parameter = parameter};
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i], difference = static_cast<double>(b[i]) - x;
    result.squares_a += x * x;
    result.squares_difference += difference * difference;
    result.largest = larger(result.largest, std::abs(difference));
  }
  return result;
}

}  // namespace

double WeightDifference::relative() const {
  if (squares_difference == 0) return 0;
  return squares_a == 0 ? std::numeric_limits<double>::infinity() : std::sqrt(squares_difference / squares_a);
}

void WeightDifference::add(const WeightDifference& other) {
  squares_a += other.squares_a;
  squares_difference += other.squares_difference;
  largest = larger(largest, other.largest);
}

std::vector<WeightDifference> difference_of(const CheckpointReader& a, const CheckpointReader& b) {
  const auto& parameters = a.manifest().parameters();
  const auto& others = b.manifest().parameters();
  for (int i = 0; i < std::min(parameters.size(), others.size()); ++i) {
    require(parameters[i].name() == others[i].name() && shape_of(parameters[i]) == shape_of(others[i]),
            "parameter {} is {} {} in {}, {} {} in {}", i, parameters[i].name(), shape_of(parameters[i]).to_string(),
            a.folder().string(), others[i].name(), shape_of(others[i]).to_string(), b.folder().string());
  }
  require(parameters.size() == others.size(), "{} has {} parameters, {} has {}", a.folder().string(), parameters.size(),
          b.folder().string(), others.size());
  std::vector<WeightDifference> differences;
  for (const CheckpointParameter& parameter : parameters) {
    std::vector<float> weights_a(static_cast<std::size_t>(shape_of(parameter).numel())), weights_b(weights_a.size());
    a.read(parameter.name(), "weight", {}, 0, weights_a);
    b.read(parameter.name(), "weight", {}, 0, weights_b);
    differences.push_back(difference_of(parameter.name(), weights_a, weights_b));
  }
  return differences;
}

}  // namespace mudelta
