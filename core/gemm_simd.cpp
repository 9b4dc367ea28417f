#include "core/gemm_simd.h"

#include <omp.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/gemm_simd.cpp"
#include "hwy/foreach_target.h"
// Once for each target, hence after the line above.
#include "core/gemm_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::simd::HWY_NAMESPACE {
namespace {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Op(b) is packed for as many columns at a time as hold at most so many elements.
constexpr std::int64_t kMaxPackedElements = std::int64_t{1} << 22;

// Tiles cut into `count` blocks that differ by one tile at most: block i starts at tile begin(i).
struct Cut {
  std::int64_t tiles, count;
  std::int64_t begin(std::int64_t i) const { return tiles * i / count; }
};

// How the threads share c, by blocks of tiles. Its bits do not depend on it.
struct Blocks {
  static constexpr std::int64_t kMaxRowTiles = 16;  // whose packed part of op(a) stays in a core's cache
  Cut rows, cols;

  Blocks(std::int64_t m, std::int64_t n) : rows{ceil_div(m, kTileRows), 1}, cols{ceil_div(n, kTileCols), 1} {
    constexpr std::int64_t kMinRowTiles = 4, kMaxColTiles = 512 / kTileCols;
    const std::int64_t threads = omp_get_max_threads();
    const std::int64_t even_share = threads * ceil_div(rows.tiles, threads * kMaxRowTiles);
    rows.count = std::min(even_share, ceil_div(rows.tiles, kMinRowTiles));
    const std::int64_t enough = rows.count == even_share ? 1 : ceil_div(2 * threads, rows.count);
    cols.count = std::min(std::max(enough, ceil_div(cols.tiles, kMaxColTiles)), cols.tiles);
  }
};

// c [rows, cols] of op(a)'s rows and packed columns of op(b); `panel_stride` elements are between those of two tiles.
template <class T>
void multiply_block(View<T> a, const float* packed, std::int64_t panel_stride, std::int64_t rows, std::int64_t cols,
                    std::int64_t k, Target c) {
  alignas(64) float block[Blocks::kMaxRowTiles * kTileRows * kDepth];
  for (std::int64_t l = 0; l < k; l += kDepth) {
    const std::int64_t depth = std::min(kDepth, k - l);
    pack_rows(a.from(0, l), rows, depth, block);
    for (std::int64_t j = 0; j < cols; j += kTileCols) {
      const float* panel = packed + j / kTileCols * panel_stride + l * kTileCols;
      for (std::int64_t i = 0; i < rows; i += kTileRows) {
        multiply_tile(std::min(kTileRows, rows - i), std::min(kTileCols, cols - j), a.col_stride == 1,
                      block + i * kDepth, panel, depth, {c.data + i * c.stride + j, c.stride, c.accumulate || l > 0});
      }
    }
  }
}

// Columns [0, cols) of c.
template <class T>
void multiply_cols(View<T> a, View<T> b, std::int64_t cols, float* packed, float* c, const GemmProblem& p) {
  constexpr std::int64_t kPackedRows = 64, kPackedCols = 8 * kTileCols;
  const std::int64_t panel_stride = p.k * kTileCols;
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t j = 0; j < cols; j += kPackedCols) {
    for (std::int64_t l = 0; l < p.k; l += kPackedRows) {
      pack_cols(b.from(l, j), std::min(kPackedRows, p.k - l), std::min(kPackedCols, cols - j),
                packed + j * p.k + l * kTileCols, panel_stride);
    }
  }
  const Blocks blocks(p.m, cols);
#pragma omp parallel for collapse(2) schedule(dynamic, 1)
  for (std::int64_t col_block = 0; col_block < blocks.cols.count; ++col_block) {
    for (std::int64_t row_block = 0; row_block < blocks.rows.count; ++row_block) {
      const std::int64_t i = kTileRows * blocks.rows.begin(row_block), j = kTileCols * blocks.cols.begin(col_block);
      const std::int64_t i_end = std::min(kTileRows * blocks.rows.begin(row_block + 1), p.m);
      const std::int64_t j_end = std::min(kTileCols * blocks.cols.begin(col_block + 1), cols);
      multiply_block(a.from(i, 0), packed + j * p.k, panel_stride, i_end - i, j_end - j, p.k,
                     {c + i * p.n + j, p.n, p.options.accumulate});
    }
  }
}

// So few rows of a that packing b would cost more than the product, and both contiguous along k.
template <class T>
bool wants_dots(View<T> a, View<T> b, const GemmProblem& p) {
  constexpr std::int64_t kMaxRows = 4;
  return p.m <= kMaxRows && a.col_stride == 1 && b.row_stride == 1;
}

template <class T>
void multiply_by_dots(View<T> a, View<T> b, float* c, const GemmProblem& p) {
#pragma omp parallel for schedule(static)
  for (std::int64_t j = 0; j < p.n; ++j) {
    for (std::int64_t i = 0; i < p.m; ++i) {
      float& to = c[i * p.n + j];
      to = (p.options.accumulate ? to : 0) + dot(a.from(i, 0).data, b.from(0, j).data, p.k);
    }
  }
}

template <class T>
void multiply(View<T> a, View<T> b, float* c, const GemmProblem& p) {
  if (wants_dots(a, b, p)) return multiply_by_dots(a, b, c, p);
  const std::int64_t tiles = ceil_div(p.n, kTileCols);
  const std::int64_t step = kTileCols * std::clamp<std::int64_t>(kMaxPackedElements / (kTileCols * p.k), 1, tiles);
  const Tensor packed = Tensor::empty({step, p.k});
  for (std::int64_t j = 0; j < p.n; j += step) {
    multiply_cols(a, b.from(0, j), std::min(step, p.n - j), packed.data<float>(), c + j, p);
  }
}

void multiply_tensors(const Tensor& a, const Tensor& b, const Tensor& c, const GemmProblem& p) {
  dispatch_float(a.dtype(), [&]<class T>() {
    const View<T> left{a.data<T>(), p.options.transpose_a ? 1 : p.k, p.options.transpose_a ? p.m : 1};
    const View<T> right{b.data<T>(), p.options.transpose_b ? 1 : p.n, p.options.transpose_b ? p.k : 1};
    multiply(left, right, c.data<float>(), p);
  });
}

}  // namespace
}  // namespace mudelta::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::simd {
namespace {

HWY_EXPORT(multiply_tensors);

}  // namespace

void gemm(const Tensor& a, const Tensor& b, const Tensor& c, const GemmProblem& problem) {
  HWY_DYNAMIC_DISPATCH(multiply_tensors)(a, b, c, problem);
}

}  // namespace mudelta::simd
#endif  // HWY_ONCE
