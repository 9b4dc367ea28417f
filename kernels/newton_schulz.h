#pragma once

#include "core/device.h"
#include "core/tensor.h"

// What an iteration towards the nearest orthogonal matrix does beside its products (optim/newton_schulz.h).
namespace mudelta::kernels {

// y = x / (factor sqrt(square_sum) + 1e-7): x float32, square_sum [1] float64, y float32 or bfloat16, of x's shape.
void divide_by_norm(const Tensor& x, const Tensor& square_sum, float factor, const Tensor& y, Stream stream);

// y = a I + b x + c x2: x, x2 and y [n, n], all float32 or all bfloat16; y may be x2.
struct MatrixPolynomial {
  float a = 0, b = 0, c = 0;
};
void matrix_polynomial(const MatrixPolynomial& polynomial, const Tensor& x, const Tensor& x2, const Tensor& y,
                       Stream stream);

}  // namespace mudelta::kernels
