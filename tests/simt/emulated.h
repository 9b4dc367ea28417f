#pragma once

// The twin of kernels/cuda/native.h for the emulator: the same functions with the same contracts (stated there), for a
// plain C++ compiler. Operands go to the emulator by value, so that fragments stay in registers here too.

#include <bit>
#include <cstdint>
#include <tuple>
#include <utility>

#include "core/device.h"
#include "core/dtype.h"
#include "core/error.h"
#include "simt/builtins.h"
#include "simt/launch.h"
#include "simt/stream.h"

namespace mudelta::kernels::cuda {

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  return reinterpret_cast<T*>(simt::shared_memory());
}

__device__ __forceinline__ float reinterpret_as_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }
__device__ __forceinline__ std::uint32_t reinterpret_as_bits(float x) { return std::bit_cast<std::uint32_t>(x); }

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bfloat16 x) {
  return reinterpret_as_float(static_cast<std::uint32_t>(x.bits) << 16);
}

__device__ __forceinline__ std::uint32_t pack_bfloat16(float low, float high) {
  return static_cast<std::uint32_t>(bfloat16(high).bits) << 16 | bfloat16(low).bits;
}
__device__ __forceinline__ float low_float(std::uint32_t packed) { return reinterpret_as_float(packed << 16); }
__device__ __forceinline__ float high_float(std::uint32_t packed) { return reinterpret_as_float(packed & 0xffff0000u); }

template <class T>
__device__ __forceinline__ T from_float(float x) {
  return T(x);
}

__device__ __forceinline__ float fast_exp2(float x) { return exp2f(x); }
__device__ __forceinline__ float fast_reciprocal(float x) { return 1.0f / x; }

// Adding half a unit in the last place kept, and dropping the 13 bits below it, rounds to nearest, ties away from zero.
__device__ __forceinline__ std::uint32_t to_tf32(float x) {
  const std::uint32_t bits = reinterpret_as_bits(x);
  const bool is_finite = (bits & 0x7f800000u) != 0x7f800000u;
  return (is_finite ? bits + 0x1000u : bits) & 0xffffe000u;
}

__device__ __forceinline__ void mma_bfloat16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  const simt::Accumulators sum = simt::multiply_bfloat16({c[0], c[1], c[2], c[3]}, a[0], a[1], a[2], a[3], b[0], b[1]);
  c[0] = sum.c0, c[1] = sum.c1, c[2] = sum.c2, c[3] = sum.c3;
}

__device__ __forceinline__ void mma_tf32(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  const simt::Accumulators sum = simt::multiply_tf32({c[0], c[1], c[2], c[3]}, a[0], a[1], a[2], a[3], b[0], b[1]);
  c[0] = sum.c0, c[1] = sum.c1, c[2] = sum.c2, c[3] = sum.c3;
}

__device__ __forceinline__ void load_matrix_x4(std::uint32_t (&r)[4], const void* row) {
  const simt::MatrixFragments loaded = simt::load_matrices(row, 4, false);
  r[0] = loaded.r0, r[1] = loaded.r1, r[2] = loaded.r2, r[3] = loaded.r3;
}
__device__ __forceinline__ void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row) {
  const simt::MatrixFragments loaded = simt::load_matrices(row, 4, true);
  r[0] = loaded.r0, r[1] = loaded.r1, r[2] = loaded.r2, r[3] = loaded.r3;
}
__device__ __forceinline__ void load_matrix_x2(std::uint32_t (&r)[2], const void* row) {
  const simt::MatrixFragments loaded = simt::load_matrices(row, 2, false);
  r[0] = loaded.r0, r[1] = loaded.r1;
}
__device__ __forceinline__ void load_matrix_x2_transposed(std::uint32_t (&r)[2], const void* row) {
  const simt::MatrixFragments loaded = simt::load_matrices(row, 2, true);
  r[0] = loaded.r0, r[1] = loaded.r1;
}

__device__ __forceinline__ void store_16(void* global, const std::uint32_t (&words)[4]) {
  *static_cast<uint4*>(global) = make_uint4(words[0], words[1], words[2], words[3]);
}

__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool valid) {
  simt::start_copy(shared, global, valid);
}
__device__ __forceinline__ void commit_copies() { simt::commit_copies(); }
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
  simt::wait_for_copies(kPending);
}

__device__ __forceinline__ void sync_threads(int id, int threads) { simt::sync_named_barrier(id, threads); }

__device__ __forceinline__ void device_require(bool condition) {
  if (!condition) simt::fail_requirement();
}

// Throws Error also for what the kernel does wrong: see simt/launch.h.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int block, std::int64_t shared_bytes, Stream stream,
            Arguments&&... arguments) {
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<Parameters...> parameters;
  };
  const Call call{kernel, {static_cast<Parameters>(std::forward<Arguments>(arguments))...}};
  require(stream.device().is_cuda(), "a kernel was launched on a stream of {}", stream.device().to_string());
  simt::enqueue(stream.handle(), [call, grid, block, shared_bytes] {
    simt::launch({.kernel = reinterpret_cast<const void*>(call.kernel),
                  .run_thread =
                      [](const void* data) {
                        const auto& [function, parameters] = *static_cast<const Call*>(data);
                        std::apply(function, parameters);
                      },
                  .data = &call,
                  .grid = grid,
                  .num_threads = block,
                  .shared_bytes = shared_bytes});
  });
}

}  // namespace mudelta::kernels::cuda
