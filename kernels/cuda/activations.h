#pragma once

#include "kernels/cuda/simt.h"

// As in simd/math-inl.h, and like there without overflow for any x.
namespace mudelta::kernels::cuda {

__device__ __forceinline__ float sigmoid(float x) {
  const float e = expf(-fabsf(x));
  const float upper = fast_reciprocal(1.0f + e);
  return x >= 0.0f ? upper : e * upper;
}

// log(1 + e^x); NaN stays NaN
__device__ __forceinline__ float softplus(float x) { return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x))); }

// d silu(x) / dx, where silu(x) = x s and s = sigmoid(x).
__device__ __forceinline__ float silu_derivative(float x, float s) { return fmaf(fmaf(-s, s, s), x, s); }

}  // namespace mudelta::kernels::cuda
