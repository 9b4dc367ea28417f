#pragma once

// What device code may use, and how a kernel is launched. nvcc gets the hardware (native.h); any other compiler gets
// the emulator of the tests, which runs the same sources on the host (docs/kernels.md).
//
// From CUDA itself: __global__, __device__, __forceinline__, __launch_bounds__, __restrict__, threadIdx, blockIdx,
// blockDim, gridDim (blocks are one-dimensional, grids have up to three), dim3, float2, float4, uint2, uint4 and
// make_*, __syncthreads, __syncwarp, __shfl_sync, __shfl_xor_sync, __shfl_up_sync, __shfl_down_sync, __ballot_sync,
// __any_sync, __all_sync, expf, exp2f, logf, log1pf, sqrtf, rsqrtf, fmaf, fabsf, fminf, fmaxf, min, max.
// Everything else goes through the functions of native.h. Shared memory is dynamic_shared<T>() alone, whose size the
// launch gives: so the emulator knows its bounds and sees every race in it.
#include "core/divide_up.h"

#ifdef __CUDACC__
#include "kernels/cuda/native.h"
#else
#include "simt/emulated.h"
#endif

namespace mudelta::kernels::cuda {

constexpr int kWarpSize = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x) / kWarpSize; }

// warp_index(), for all lanes of a warp together, in a way that tells the compiler that it is the same on each:
// branches that depend on it cannot part them.
__device__ __forceinline__ int uniform_warp_index() { return __shfl_sync(kAllLanes, warp_index(), 0); }

// Over the warp; the same on every lane, bit for bit.
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kAllLanes, x, offset);
  return x;
}

}  // namespace mudelta::kernels::cuda
