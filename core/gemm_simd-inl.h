// The parts of a product that one thread computes: packed operands, a tile of registers, and single rows.
// Included once for each SIMD target (see Highway's foreach_target.h), hence the toggling guard.

#if defined(MUDELTA_CORE_GEMM_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MUDELTA_CORE_GEMM_SIMD_INL_H_
#undef MUDELTA_CORE_GEMM_SIMD_INL_H_
#else
#define MUDELTA_CORE_GEMM_SIMD_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "core/dtype.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::simd::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::ScalableTag<float>;
using FloatVec = hn::Vec<FloatTag>;
constexpr FloatTag kFloatTag;
constexpr std::int64_t kLanes = hn::MaxLanes(kFloatTag);

// A tile of c in registers: kTileRows x kTileCols. 24 of AVX-512's 32 vectors hold it, 12 of the others' 16.
constexpr std::int64_t kTileRows = kLanes == 16 ? 12 : 6;
constexpr std::int64_t kTileCols = 2 * kLanes;
// Terms of k that are summed in registers before they are added to c.
constexpr std::int64_t kDepth = 256;

// A matrix in memory, seen as op(.) [rows, cols]; one of the strides is 1.
template <class T>
struct View {
  const T* data;
  std::int64_t row_stride, col_stride;

  View from(std::int64_t row, std::int64_t col) const {
    return {data + row * row_stride + col * col_stride, row_stride, col_stride};
  }
};

HWY_INLINE FloatVec load(const float* from) { return hn::LoadU(kFloatTag, from); }
HWY_INLINE FloatVec load(const bfloat16* from) {
  const hn::Rebind<std::uint16_t, FloatTag> narrow_tag;
  const hn::Rebind<std::uint32_t, FloatTag> wide_tag;
  const auto narrow = hn::LoadU(narrow_tag, reinterpret_cast<const std::uint16_t*>(from));
  return hn::BitCast(kFloatTag, hn::ShiftLeft<16>(hn::PromoteTo(wide_tag, narrow)));
}

template <class T>
HWY_INLINE void copy(const T* HWY_RESTRICT from, std::int64_t count, float* HWY_RESTRICT to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i]);
}

// Columns [0, cols) of b, as panels of kTileCols columns with zeros beyond the last one: [depth][kTileCols] each, and
// panel_stride from one to the next.
template <class T>
void pack_cols(View<T> b, std::int64_t depth, std::int64_t cols, float* panels, std::int64_t panel_stride) {
  const std::int64_t whole = cols / kTileCols * kTileCols;
  if (b.col_stride == 1) {
    for (std::int64_t l = 0; l < depth; ++l) {
      const T* row = b.from(l, 0).data;
      float* to = panels + l * kTileCols;
      for (std::int64_t j = 0; j < whole; j += kTileCols, to += panel_stride) copy(row + j, kTileCols, to);
      if (whole == cols) continue;
      copy(row + whole, cols - whole, to);
      std::fill_n(to + (cols - whole), kTileCols - (cols - whole), 0.0f);
    }
    return;
  }
  for (std::int64_t j = 0; j < (cols + kTileCols - 1) / kTileCols * kTileCols; ++j) {
    float* to = panels + j / kTileCols * panel_stride + j % kTileCols;
    const T* col = b.from(0, j).data;
    for (std::int64_t l = 0; l < depth; ++l) to[l * kTileCols] = j < cols ? static_cast<float>(col[l]) : 0;
  }
}

// Rows [0, rows) of a, as panels of kTileRows rows with zeros beyond the last one. Both ways to pack are plain copies:
// rows that are contiguous stay so, [kTileRows][kDepth] each, and others are [depth][kTileRows].
template <class T>
void pack_rows(View<T> a, std::int64_t rows, std::int64_t depth, float* panels) {
  constexpr std::int64_t kPanel = kTileRows * kDepth;
  const std::int64_t whole = rows / kTileRows * kTileRows;
  if (whole < rows) std::fill_n(panels + whole * kDepth, kPanel, 0.0f);
  if (a.col_stride == 1) {
    for (std::int64_t i = 0; i < rows; ++i) copy(a.from(i, 0).data, depth, panels + i * kDepth);
    return;
  }
  for (std::int64_t l = 0; l < depth; ++l) {
    const T* col = a.from(0, l).data;
    float* to = panels + l * kTileRows;
    for (std::int64_t i = 0; i < whole; i += kTileRows, to += kPanel) copy(col + i, kTileRows, to);
    copy(col + whole, rows - whole, to);
  }
}

// Where a tile of c goes: c [rows, cols], and whether it is added.
struct Target {
  float* data;
  std::int64_t stride;
  bool accumulate;
};

// c [kTileRows, kVectors * kLanes] (=, or +=) of packed panels; kContiguousRows: how a is packed.
template <int kVectors, bool kContiguousRows>
void multiply_panels(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, std::int64_t depth, Target c) {
  constexpr std::int64_t kRowStride = kContiguousRows ? kDepth : 1, kDepthStride = kContiguousRows ? 1 : kTileRows;
  FloatVec sum[kTileRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::Zero(kFloatTag);
  }
  for (std::int64_t l = 0; l < depth; ++l) {
    FloatVec row[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) row[v] = load(b + l * kTileCols + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) {
      const FloatVec x = hn::Set(kFloatTag, a[i * kRowStride + l * kDepthStride]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::MulAdd(x, row[v], sum[i][v]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* to = c.data + i * c.stride + v * kLanes;
      const FloatVec before = c.accumulate ? load(to) : hn::Zero(kFloatTag);
      hn::StoreU(hn::Add(before, sum[i][v]), kFloatTag, to);
    }
  }
}

template <int kVectors>
void multiply_panels(bool contiguous_rows, const float* a, const float* b, std::int64_t depth, Target c) {
  if (contiguous_rows) return multiply_panels<kVectors, true>(a, b, depth, c);
  multiply_panels<kVectors, false>(a, b, depth, c);
}

// The first rows and columns of a tile.
void multiply_tile(std::int64_t rows, std::int64_t cols, bool contiguous_rows, const float* a, const float* b,
                   std::int64_t depth, Target c) {
  if (rows == kTileRows && cols == kTileCols) return multiply_panels<2>(contiguous_rows, a, b, depth, c);
  float tile[kTileRows * kTileCols];
  const Target whole{tile, kTileCols, false};
  if (cols > kLanes) {
    multiply_panels<2>(contiguous_rows, a, b, depth, whole);
  } else {
    multiply_panels<1>(contiguous_rows, a, b, depth, whole);
  }
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < cols; ++j) {
      float& to = c.data[i * c.stride + j];
      to = (c.accumulate ? to : 0) + tile[i * kTileCols + j];
    }
  }
}

// Sum of x[i] y[i].
template <class T>
HWY_INLINE float dot(const T* HWY_RESTRICT x, const T* HWY_RESTRICT y, std::int64_t count) {
  constexpr int kSums = 4;
  FloatVec sum[kSums] = {hn::Zero(kFloatTag), hn::Zero(kFloatTag), hn::Zero(kFloatTag), hn::Zero(kFloatTag)};
  std::int64_t i = 0;
  for (; i + kSums * kLanes <= count; i += kSums * kLanes) {
#pragma GCC unroll 4
    for (int s = 0; s < kSums; ++s) {
      sum[s] = hn::MulAdd(load(x + i + s * kLanes), load(y + i + s * kLanes), sum[s]);
    }
  }
  float rest = 0;
  for (; i < count; ++i) rest += static_cast<float>(x[i]) * static_cast<float>(y[i]);
  const FloatVec total = hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3]));
  return hn::GetLane(hn::SumOfLanes(kFloatTag, total)) + rest;
}

}  // namespace
}  // namespace mudelta::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MUDELTA_CORE_GEMM_SIMD_INL_H_
