#pragma once

#include <cstdint>

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta {

// Tensors of random numbers on the device of a stream, for benchmarks; the same ones every time.
class RandomTensors {
 public:
  explicit RandomTensors(Stream stream) : stream_(stream) {}

  Stream stream() const { return stream_; }

  // Normal with mean 0.
  Tensor normal(const Shape& shape, DType dtype, double std = 1);
  Tensor floats(const Shape& shape, double std = 1) { return normal(shape, DType::kFloat32, std); }
  // float32: f of standard normal numbers.
  Tensor floats_of(const Shape& shape, float (*f)(float));

 private:
  Stream stream_;
  std::uint64_t next_ = 0;
};

}  // namespace mudelta
