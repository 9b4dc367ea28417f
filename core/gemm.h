#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta {

struct GemmOptions {
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  // c += instead of c =
};

// c = op(a) op(b), or c += with `accumulate`; accumulation inside the product is float32.
//   op(a) [M, K], op(b) [K, N], c [M, N]; a and b: both float32 or both bfloat16.
//   c: float32, or bfloat16 if a and b are bfloat16 and `accumulate` is off.
// On a CPU the bits of c do not depend on the number of threads.
// M, N or K may be 0 (with K = 0, c = 0 unless accumulating). Throws Error on shapes or dtypes that do not fit.
void gemm(const Tensor& a, const Tensor& b, const Tensor& c, GemmOptions options, Stream stream);

// y = x w^T: the product of a linear layer. x [N, in], w [out, in], y [N, out] (=).
inline void linear_forward(const Tensor& x, const Tensor& w, const Tensor& y, Stream stream) {
  gemm(x, w, y, {.transpose_b = true}, stream);
}

// dx = dy w, or dx += with `accumulate_dx` (float32 dx only); dw += dy^T x (float32).
// dx may be undefined: then only dw is computed.
void linear_backward(const Tensor& x, const Tensor& w, const Tensor& dy, const Tensor& dx, bool accumulate_dx,
                     const Tensor& dw, Stream stream);

}  // namespace mudelta
