#pragma once

#include <string_view>

#include "core/rng.h"
#include "core/tensor.h"

namespace mudelta::testing {

// mean + std * normal, the same for the same (seed, name). Values are rounded to `dtype`.
inline Tensor random_normal(const Shape& shape, std::string_view name, double std = 1, double mean = 0,
                            std::uint64_t seed = 1, DType dtype = DType::kFloat32) {
  const CounterRng rng(seed, name);
  Tensor tensor = Tensor::empty(shape);
  auto values = tensor.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(mean + std * rng.normal(i));
  return tensor.to(dtype);
}

inline Tensor random_uniform(const Shape& shape, std::string_view name, double low, double high,
                             std::uint64_t seed = 1, DType dtype = DType::kFloat32) {
  const CounterRng rng(seed, name);
  Tensor tensor = Tensor::empty(shape);
  auto values = tensor.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(low + (high - low) * rng.uniform(i));
  }
  return tensor.to(dtype);
}

}  // namespace mudelta::testing
