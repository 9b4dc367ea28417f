#pragma once

#include <cstdint>

#include "kernels/cuda/simt.h"

// Runs of N elements of float or bfloat16 arrays of any length and alignment, as floats in registers. `count` is how
// many elements the array has from there on: a load fills the others with 0, a store leaves them out. Whole runs that
// are aligned move in words of 16 bytes (8 for 4 bfloat16).
namespace mudelta::kernels::cuda {

constexpr int kRun = 8;  // 16 bytes of bfloat16

template <class Word>
__device__ __forceinline__ bool is_aligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % sizeof(Word) == 0;
}

template <int N>
__device__ __forceinline__ void load(const float* from, std::int64_t count, float (&to)[N]) {
  static_assert(N % 4 == 0);
  if (count >= N && is_aligned<float4>(from)) {
    for (int i = 0; i < N; i += 4) {
      const float4 word = *reinterpret_cast<const float4*>(from + i);
      to[i] = word.x, to[i + 1] = word.y, to[i + 2] = word.z, to[i + 3] = word.w;
    }
  } else {
    for (int i = 0; i < N; ++i) to[i] = i < count ? from[i] : 0.0f;
  }
}

template <int N>
__device__ __forceinline__ void store(const float (&from)[N], float* to, std::int64_t count) {
  static_assert(N % 4 == 0);
  if (count >= N && is_aligned<float4>(to)) {
    for (int i = 0; i < N; i += 4) {
      *reinterpret_cast<float4*>(to + i) = make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
    }
  } else {
    for (int i = 0; i < N; ++i) {
      if (i < count) to[i] = from[i];
    }
  }
}

template <int N>
__device__ __forceinline__ void load(const bfloat16* from, std::int64_t count, float (&to)[N]) {
  static_assert(N == 4 || N == 8);
  const auto unpack = [&to](int i, std::uint32_t pair) { to[i] = low_float(pair), to[i + 1] = high_float(pair); };
  if (N == 8 && count >= N && is_aligned<uint4>(from)) {
    const uint4 word = *reinterpret_cast<const uint4*>(from);
    unpack(0, word.x), unpack(2, word.y), unpack(N - 4, word.z), unpack(N - 2, word.w);
  } else if (N == 4 && count >= N && is_aligned<uint2>(from)) {
    const uint2 word = *reinterpret_cast<const uint2*>(from);
    unpack(0, word.x), unpack(2, word.y);
  } else {
    for (int i = 0; i < N; ++i) to[i] = i < count ? to_float(from[i]) : 0.0f;
  }
}

template <int N>
__device__ __forceinline__ void store(const float (&from)[N], bfloat16* to, std::int64_t count) {
  static_assert(N == 4 || N == 8);
  const auto pack = [&from](int i) { return pack_bfloat16(from[i], from[i + 1]); };
  if (N == 8 && count >= N && is_aligned<uint4>(to)) {
    *reinterpret_cast<uint4*>(to) = make_uint4(pack(0), pack(2), pack(N - 4), pack(N - 2));
  } else if (N == 4 && count >= N && is_aligned<uint2>(to)) {
    *reinterpret_cast<uint2*>(to) = make_uint2(pack(0), pack(2));
  } else {
    for (int i = 0; i < N; ++i) {
      if (i < count) to[i] = from_float<bfloat16>(from[i]);
    }
  }
}

}  // namespace mudelta::kernels::cuda
