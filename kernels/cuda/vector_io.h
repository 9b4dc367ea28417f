#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/simt.h"

// Runs of N elements of float or bfloat16 arrays, as floats in registers. What there is of a run is either
//   std::int64_t: how many elements the array has from there on, at any alignment. A load fills the others with 0, a
//     store leaves them out;
//   WholeRun: all of it, aligned to 16 bytes (8 for 4 bfloat16). It moves in words of so many bytes, without the tests
//     and the element by element code that the other case takes at every access.
// Loops over runs are compiled for both, and the host chooses.
namespace mudelta::kernels::cuda {

constexpr int kRun = 8;  // 16 bytes of bfloat16

struct WholeRun {};

template <int N>
__device__ __forceinline__ void load(const float* from, WholeRun, float (&to)[N]) {
  static_assert(N % 4 == 0);
  for (int i = 0; i < N; i += 4) {
    const float4 word = *reinterpret_cast<const float4*>(from + i);
    to[i] = word.x, to[i + 1] = word.y, to[i + 2] = word.z, to[i + 3] = word.w;
  }
}

template <int N>
__device__ __forceinline__ void store(const float (&from)[N], float* to, WholeRun) {
  static_assert(N % 4 == 0);
  for (int i = 0; i < N; i += 4) {
    *reinterpret_cast<float4*>(to + i) = make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
  }
}

template <int N>
__device__ __forceinline__ void load(const bfloat16* from, WholeRun, float (&to)[N]) {
  static_assert(N == 4 || N == 8);
  const auto unpack = [&to](int i, std::uint32_t pair) { to[i] = low_float(pair), to[i + 1] = high_float(pair); };
  if constexpr (N == 8) {
    const uint4 word = *reinterpret_cast<const uint4*>(from);
    unpack(0, word.x), unpack(2, word.y), unpack(4, word.z), unpack(6, word.w);
  } else {
    const uint2 word = *reinterpret_cast<const uint2*>(from);
    unpack(0, word.x), unpack(2, word.y);
  }
}

template <int N>
__device__ __forceinline__ void store(const float (&from)[N], bfloat16* to, WholeRun) {
  static_assert(N == 4 || N == 8);
  const auto pack = [&from](int i) { return pack_bfloat16(from[i], from[i + 1]); };
  if constexpr (N == 8) {
    *reinterpret_cast<uint4*>(to) = make_uint4(pack(0), pack(2), pack(4), pack(6));
  } else {
    *reinterpret_cast<uint2*>(to) = make_uint2(pack(0), pack(2));
  }
}

template <int N, class T>
__device__ __forceinline__ bool is_whole(const T* address, std::int64_t count) {
  constexpr std::uintptr_t kBytes = N * sizeof(T), kAlignment = kBytes < 16 ? kBytes : 16;
  return count >= N && reinterpret_cast<std::uintptr_t>(address) % kAlignment == 0;
}

template <int N, class T>
__device__ __forceinline__ void load(const T* from, std::int64_t count, float (&to)[N]) {
  if (is_whole<N>(from, count)) return load(from, WholeRun{}, to);
  for (int i = 0; i < N; ++i) to[i] = i < count ? to_float(from[i]) : 0.0f;
}

template <int N, class T>
__device__ __forceinline__ void store(const float (&from)[N], T* to, std::int64_t count) {
  if (is_whole<N>(to, count)) return store(from, to, WholeRun{});
  for (int i = 0; i < N; ++i) {
    if (i < count) to[i] = from_float<T>(from[i]);
  }
}

// What there is of a run of which the array has `count` elements, in code compiled for whole runs or others.
template <bool kWhole>
__device__ __forceinline__ auto run_of(std::int64_t count) {
  if constexpr (kWhole) {
    return WholeRun{};
  } else {
    return count;
  }
}

// Whether arrays may be read and written in whole runs, if their rows are whole runs. Null is an array, too.
template <class... T>
bool are_aligned(const T*... arrays) {
  return ((reinterpret_cast<std::uintptr_t>(arrays) % 16 == 0) && ...);
}

// f(std::bool_constant<value>)
template <class F>
void dispatch_bool(bool value, const F& f) {
  value ? f(std::true_type{}) : f(std::false_type{});
}

}  // namespace mudelta::kernels::cuda
