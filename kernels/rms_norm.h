#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// y = x * rstd * weight, rstd = (mean x^2 + eps)^{-1/2} over the last dimension.
// x [rows, dim] float32 or bfloat16; weight [dim] float32; y [rows, dim] (=) float32 or bfloat16;
// rstd [rows] float32 (=).
void rms_norm_forward(const Tensor& x, const Tensor& weight, float eps, const Tensor& y, const Tensor& rstd,
                      Stream stream);

// dx = dresidual + gradient of x (=), dtype of x; dresidual (dtype of x) may be undefined (zero) or dx itself.
// dweight [dim] float32 (+=). dy: dtype of y.
void rms_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dy,
                       const Tensor& dresidual, const Tensor& dx, const Tensor& dweight, Stream stream);

// y = x * rstd * weight * silu(gate).
// x, gate, y [rows, dim] of one dtype; weight [dim] float32; rstd [rows] float32 (=); y (=).
void gated_rms_norm_forward(const Tensor& x, const Tensor& gate, const Tensor& weight, float eps, const Tensor& y,
                            const Tensor& rstd, Stream stream);

// dx, dgate (=), dtype of x; dweight [dim] float32 (+=).
void gated_rms_norm_backward(const Tensor& x, const Tensor& gate, const Tensor& weight, const Tensor& rstd,
                             const Tensor& dy, const Tensor& dx, const Tensor& dgate, const Tensor& dweight,
                             Stream stream);

}  // namespace mudelta::kernels
