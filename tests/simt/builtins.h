#pragma once

// The part of CUDA's language that device code may use (kernels/cuda/simt.h), for a plain C++ compiler. Semantics are
// those of the CUDA C++ Programming Guide; where they leave a result undefined, the emulator gives NaN bits or throws
// Error.

#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "simt/warp_operations.h"

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1) : x(x_size), y(y_size), z(z_size) {}
};

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
constexpr float2 make_float2(float x, float y) { return {x, y}; }
constexpr float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
constexpr uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
constexpr uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// Of the emulated thread that this host thread runs just now.
extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;

inline void __syncthreads() { mudelta::simt::sync_block(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { mudelta::simt::sync_warp(mask); }

namespace mudelta::simt {

template <class T>
concept Shuffled = std::is_arithmetic_v<T> &&(sizeof(T) == 4 || sizeof(T) == 8);

template <Shuffled T>
__forceinline__ T shuffled(Shuffle kind, unsigned mask, T value, int operand, int width) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  return __builtin_bit_cast(T, static_cast<Bits>(shuffle(kind, mask, __builtin_bit_cast(Bits, value), operand, width)));
}

}  // namespace mudelta::simt

template <mudelta::simt::Shuffled T>
__forceinline__ T __shfl_sync(unsigned mask, T value, int source_lane, int width = 32) {
  return mudelta::simt::shuffled(mudelta::simt::Shuffle::kIndexed, mask, value, source_lane, width);
}
template <mudelta::simt::Shuffled T>
__forceinline__ T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return mudelta::simt::shuffled(mudelta::simt::Shuffle::kUp, mask, value, static_cast<int>(delta), width);
}
template <mudelta::simt::Shuffled T>
__forceinline__ T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return mudelta::simt::shuffled(mudelta::simt::Shuffle::kDown, mask, value, static_cast<int>(delta), width);
}
template <mudelta::simt::Shuffled T>
__forceinline__ T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  return mudelta::simt::shuffled(mudelta::simt::Shuffle::kXor, mask, value, lane_mask, width);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) { return mudelta::simt::ballot(mask, predicate != 0); }
inline int __any_sync(unsigned mask, int predicate) { return mudelta::simt::ballot(mask, predicate != 0) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return mudelta::simt::ballot(mask, predicate == 0) == 0; }

// C's single-precision functions (expf, fmaf, ...) are global names already.
inline float rsqrtf(float x) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x))); }

template <std::integral T>
constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <std::integral T>
constexpr T max(T a, T b) {
  return a < b ? b : a;
}
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
