#pragma once

#include "core/tensor.h"
#include "tests/support/compare.h"
#include "tests/support/numeric_gradient.h"
#include "tests/support/random.h"

namespace mudelta::testing {

// Relative RMS error that an op with float32 inside may have, and what rounding its result to `dtype` adds.
inline double tolerance(DType dtype) { return dtype == DType::kBFloat16 ? 4e-3 : 3e-6; }
// Of gradients: sums of products, against numeric differentiation.
inline double gradient_tolerance(DType dtype) { return dtype == DType::kBFloat16 ? 5e-3 : 2e-5; }

// A tensor of another content, to be overwritten.
inline Tensor filled(const Shape& shape, DType dtype = DType::kFloat32, float value = 7) {
  const Tensor tensor = Tensor::empty(shape);
  for (float& x : tensor.span<float>()) x = value;
  return tensor.to(dtype);
}

inline constexpr DType kFloatTypes[] = {DType::kFloat32, DType::kBFloat16};

}  // namespace mudelta::testing
