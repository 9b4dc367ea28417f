#pragma once

#include "kernels/elementwise.h"

namespace mudelta {

// x in `dtype` (float32 or bfloat16): a copy, or x itself if it has that dtype already.
inline Tensor cast(const Tensor& x, DType dtype, Stream stream) {
  if (x.dtype() == dtype) return x;
  const Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  kernels::convert(x, y, stream);
  return y;
}

}  // namespace mudelta
