#pragma once

// Device instructions that C++ has no name for, and kernel launches, for nvcc. Fragment layouts are those of the PTX
// manual, section "Warp-level matrix instructions". The emulated twins are in tests/simt/.

#include <cuda_runtime.h>

#include <cstdint>
#include <map>
#include <utility>

#include "core/device.h"
#include "core/dtype.h"
#include "core/error.h"

namespace mudelta::kernels::cuda {

// Memory of the size given at launch, 128-byte aligned, shared by the block.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];
  return reinterpret_cast<T*>(dynamic_shared_memory);
}

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bfloat16 x) {
  return __uint_as_float(static_cast<std::uint32_t>(x.bits) << 16);
}

// Two floats as a pair of bfloat16, rounded to nearest even: `low` in the lower half.
__device__ __forceinline__ std::uint32_t pack_bfloat16(float low, float high) {
  std::uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}
__device__ __forceinline__ float low_float(std::uint32_t packed) { return __uint_as_float(packed << 16); }
__device__ __forceinline__ float high_float(std::uint32_t packed) { return __uint_as_float(packed & 0xffff0000u); }

// x in T, rounded to nearest even.
template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bfloat16 from_float<bfloat16>(float x) {
  bfloat16 narrow;
  narrow.bits = static_cast<std::uint16_t>(pack_bfloat16(x, 0.0f));
  return narrow;
}

// 2^x to about 2 units in the last place; 2^-inf = 0.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / x to 1 unit in the last place, in one instruction; subnormal numbers are taken for 0 and made 0.
__device__ __forceinline__ float fast_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float reinterpret_as_float(std::uint32_t bits) { return __uint_as_float(bits); }
__device__ __forceinline__ std::uint32_t reinterpret_as_bits(float x) { return __float_as_uint(x); }

// x rounded to tf32 (10 mantissa bits; ties away from zero), as the operand of mma_tf32 and as the bits of a float: PTX
// leaves the 13 bits that tf32 does not have open.
__device__ __forceinline__ std::uint32_t to_tf32(float x) {
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits & 0xffffe000u;
}

// Called by all lanes of a warp: c [16, 8] += a [16, 16] b [16, 8]; a, b pairs of bfloat16, c float32.
// With r = lane / 4, q = lane % 4, a[0..3]: rows r, r+8, r, r+8 at columns 2q, 2q, 2q+8, 2q+8 (and the next column);
// b[0..1]: column r at rows 2q, 2q+8 (and the next row); c[0..3]: (r, 2q), (r, 2q+1), (r+8, 2q), (r+8, 2q+1).
__device__ __forceinline__ void mma_bfloat16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// c [16, 8] += a [16, 8] b [8, 8], operands from to_tf32. a[0..3]: (r, q), (r+8, q), (r, q+4), (r+8, q+4);
// b[0..1]: (q, r), (q+4, r); c as above.
__device__ __forceinline__ void mma_tf32(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Called by all lanes of a warp: four (two) 8 x 8 matrices of bfloat16 from shared memory. Lane 8 i + j gives the
// address of row j of matrix i (16-byte aligned; for _x2 lanes 0 to 15 count). Lane l gets of matrix i the elements
// (l / 4, 2 (l % 4)) and the next column in r[i]; with _transposed (2 (l % 4), l / 4) and the next row.
__device__ __forceinline__ void load_matrix_x4(std::uint32_t (&r)[4], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_matrix_x2(std::uint32_t (&r)[2], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_matrix_x2_transposed(std::uint32_t (&r)[2], const void* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(address)
               : "memory");
}

// 16 bytes, aligned to 16, to global memory in one store: the compiler does not always make one of four.
__device__ __forceinline__ void store_16(void* global, const std::uint32_t (&words)[4]) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(global)), "r"(words[0]),
               "r"(words[1]), "r"(words[2]), "r"(words[3])
               : "memory");
}

// Starts copying 16 bytes (both addresses aligned to 16) from global to shared memory; zeros if not `valid`, and then
// `global` is not read. The bytes are there once the thread has waited for their group (and others see them after a
// barrier).
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool valid) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  const int num_bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(num_bytes) : "memory");
}
// Ends a group of this thread's copies.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most kPending of this thread's newest groups are under way.
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Barrier number `id` (1 to 15; 0 is __syncthreads) of `threads` threads of the block, a multiple of 32.
__device__ __forceinline__ void sync_threads(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Stops the kernel and makes every later use of the device fail, unless `condition` holds.
__device__ __forceinline__ void device_require(bool condition) {
  if (!condition) __trap();
}

// Lets a kernel have `num_bytes` of shared memory, which more than 48 KiB needs. A call into the driver may wait for
// copies that are under way, and is made to raise the limit only.
inline void allow_shared_bytes(const void* kernel, std::int64_t num_bytes) {
  constexpr std::int64_t kAllowedByDefault = 48 * 1024;
  static std::map<const void*, std::int64_t> allowed;  // a process uses one device, from one thread
  std::int64_t& limit = allowed.try_emplace(kernel, kAllowedByDefault).first->second;
  if (num_bytes <= limit) return;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(num_bytes));
  if (status != cudaSuccess) cudaGetLastError();  // or the next launch would report it again
  require(status == cudaSuccess, "a kernel needs {} bytes of shared memory: {}", num_bytes, cudaGetErrorString(status));
  limit = num_bytes;
}

// Runs kernel<<<grid, block, shared_bytes>>>(arguments...) on a CUDA stream. Throws Error if it cannot start.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int block, std::int64_t shared_bytes, Stream stream,
            Arguments&&... arguments) {
  require(stream.device().is_cuda(), "a kernel was launched on a stream of {}", stream.device().to_string());
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  allow_shared_bytes(reinterpret_cast<const void*>(kernel), shared_bytes);
  kernel<<<grid, block, static_cast<std::size_t>(shared_bytes), static_cast<cudaStream_t>(stream.handle())>>>(
      static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  const cudaError_t status = cudaGetLastError();
  require(status == cudaSuccess,
          "a kernel could not be launched with {} x {} x {} blocks of {} threads, or earlier work failed: {}", grid.x,
          grid.y, grid.z, block, cudaGetErrorString(status));
}

}  // namespace mudelta::kernels::cuda
