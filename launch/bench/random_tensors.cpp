#include "launch/bench/random_tensors.h"

#include <algorithm>

#include "core/rng.h"

namespace mudelta {

Tensor RandomTensors::normal(const Shape& shape, DType dtype, double std) {
  const CounterRng rng(1, "bench");
  const Tensor tensor = Tensor::empty(shape);
  const auto values = tensor.span<float>();
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(std * rng.normal(next_ + i));
  next_ += values.size();
  return tensor.to(dtype).to(stream_.device());
}

Tensor RandomTensors::floats_of(const Shape& shape, float (*f)(float)) {
  const Tensor tensor = floats(shape).to(Device()).clone();
  std::ranges::transform(tensor.span<float>(), tensor.data<float>(), f);
  return tensor.to(stream_.device());
}

}  // namespace mudelta
