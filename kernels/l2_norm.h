#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// y = x * rstd, rstd = (sum x^2 + eps)^{-1/2} over the last dimension.
// x [..., dim] float32 or bfloat16; y as x (=), may be x itself; rstd [...] float32 (=), one a row.
void l2_norm_forward(const Tensor& x, float eps, const Tensor& y, const Tensor& rstd, Stream stream);

// dx = rstd (dy - y (y . dy)) (=); may be dy itself. y and rstd are the forward pass's.
void l2_norm_backward(const Tensor& y, const Tensor& rstd, const Tensor& dy, const Tensor& dx, Stream stream);

}  // namespace mudelta::kernels
