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
#pragma omp parallel for if (values.size() > (1u << 20))
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(mean + std * rng.normal(i));
  return tensor.to(dtype);
}

inline Tensor random_uniform(const Shape& shape, std::string_view name, double low, double high, std::uint64_t seed = 1,
                             DType dtype = DType::kFloat32) {
  const CounterRng rng(seed, name);
  Tensor tensor = Tensor::empty(shape);
  auto values = tensor.span<float>();
#pragma omp parallel for if (values.size() > (1u << 20))
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(low + (high - low) * rng.uniform(i));
  }
  return tensor.to(dtype);
}

// [count] int32 token ids in [lowest, vocab).
inline Tensor random_tokens(std::int64_t count, std::int64_t vocab, std::int32_t lowest = 0) {
  const CounterRng rng(1, "tokens");
  const Tensor tokens = Tensor::empty({count}, DType::kInt32);
  const auto choices = static_cast<std::uint64_t>(vocab - lowest);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto draw = static_cast<std::int32_t>(rng.bits(static_cast<std::uint64_t>(i)) % choices);
    tokens.data<std::int32_t>()[i] = lowest + draw;
  }
  return tokens;
}

}  // namespace mudelta::testing
