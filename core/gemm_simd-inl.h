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
// A cache line, and how many floats that is.
constexpr std::int64_t kLineBytes = 64, kLine = 16;
// From one packed panel of rows to the next: a line more than it has, lest all of them compete for the same sets of a
// cache.
constexpr std::int64_t kRowPanel = kTileRows * kDepth + kLine;

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

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

// Columns [0, cols) of b, at most kTileCols, as a panel [depth][kTileCols] with zeros beyond the last one. Written past
// the caches, so that other cores need not give up lines that they have of the panel before.
template <class T>
void pack_cols(View<T> b, std::int64_t depth, std::int64_t cols, float* panel) {
  if (b.col_stride == 1 && cols == kTileCols) {
    for (std::int64_t l = 0; l < depth; ++l, panel += kTileCols) {
      hn::Stream(load(b.from(l, 0).data), kFloatTag, panel);
      hn::Stream(load(b.from(l, kLanes).data), kFloatTag, panel + kLanes);
    }
    return;
  }
  constexpr std::int64_t kRows = 64;
  alignas(64) float rows[kRows * kTileCols] = {};
  for (std::int64_t begin = 0; begin < depth; begin += kRows) {
    const std::int64_t count = std::min(kRows, depth - begin);
    for (std::int64_t j = 0; j < cols; ++j) {
      const View<T> col = b.from(begin, j);
      for (std::int64_t l = 0; l < count; ++l) rows[l * kTileCols + j] = static_cast<float>(*col.from(l, 0).data);
    }
    for (std::int64_t i = 0; i < count * kTileCols; i += kLanes, panel += kLanes) {
      hn::Stream(load(rows + i), kFloatTag, panel);
    }
  }
}

// Rows [0, rows) of a, as panels of kTileRows rows with zeros beyond the last one. Both ways to pack are plain copies:
// rows that are contiguous stay so, [kTileRows][kDepth] each, and others are [depth][kTileRows].
template <class T>
void pack_rows(View<T> a, std::int64_t rows, std::int64_t depth, float* panels) {
  const std::int64_t whole = rows / kTileRows * kTileRows;
  float* last_panel = panels + rows / kTileRows * kRowPanel;
  if (whole < rows) std::fill_n(last_panel, kTileRows * kDepth, 0.0f);
  if (a.col_stride == 1) {
    for (std::int64_t i = 0; i < rows; ++i) {
      copy(a.from(i, 0).data, depth, panels + i / kTileRows * kRowPanel + i % kTileRows * kDepth);
    }
    return;
  }
  for (std::int64_t l = 0; l < depth; ++l) {
    const T* col = a.from(0, l).data;
    float* to = panels + l * kTileRows;
    for (std::int64_t i = 0; i < whole; i += kTileRows, to += kRowPanel) copy(col + i, kTileRows, to);
    copy(col + whole, rows - whole, to);
  }
}

// A tile in a matrix with `stride` elements from row to row; no data: zeros.
struct Tile {
  float* data;
  std::int64_t stride;
};

// Into the core's first cache, to be written.
HWY_INLINE void fetch_row(Tile tile, int row) {
  __builtin_prefetch(tile.data + row * tile.stride, 1);
  __builtin_prefetch(tile.data + row * tile.stride + kTileCols - 1, 1);
}

// What later products need, to be fetched into the core's cache meanwhile: rows of bytes, so many lines at a time.
struct Ahead {
  const char* at;
  std::int64_t row_bytes, stride_bytes, lines, column = 0;

  HWY_INLINE void fetch() {
    for (std::int64_t i = 0; i < lines; ++i) {
      __builtin_prefetch(at + column, 0, 2);
      column += kLineBytes;
      if (column < row_bytes) continue;
      column = 0;
      at += stride_bytes;
    }
  }
};

// By `products` products, each of which fetches kTileRows times.
template <class T>
Ahead ahead_of(View<T> a, std::int64_t rows, std::int64_t cols, std::int64_t products) {
  constexpr std::int64_t kBytes = sizeof(T);
  if (a.col_stride != 1) return ahead_of<T>({a.data, a.col_stride, 1}, cols, rows, products);
  const std::int64_t lines = rows * ceil_div(cols * kBytes, kLineBytes);
  return {reinterpret_cast<const char*>(a.data), cols * kBytes, a.row_stride * kBytes,
          ceil_div(lines, products * kTileRows)};
}

// to = from + the product of packed panels, kVectors * kLanes columns; kContiguousRows: how a is packed. Other memory
// is fetched meanwhile, little by little, so that what the product itself loads does not queue behind it.
template <int kVectors, bool kContiguousRows>
void multiply_panels(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, std::int64_t depth, Tile from, Tile to,
                     Ahead& next_rows, Ahead& next_cols) {
  constexpr std::int64_t kRowStride = kContiguousRows ? kDepth : 1, kDepthStride = kContiguousRows ? 1 : kTileRows;
  FloatVec sum[kTileRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::Zero(kFloatTag);
  }
  std::int64_t l = 0;
  for (int part = 0; part <= kTileRows; ++part) {
    if (part < kTileRows) {
      fetch_row(from.data ? from : to, part);
      fetch_row(to, part);
      next_rows.fetch();
      next_cols.fetch();
    }
    const std::int64_t end = part < kTileRows ? l + depth / kTileRows : depth;
    for (; l < end; ++l) {
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
  }
  if (from.data) {
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        sum[i][v] = hn::Add(load(from.data + i * from.stride + v * kLanes), sum[i][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[i][v], kFloatTag, to.data + i * to.stride + v * kLanes);
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
