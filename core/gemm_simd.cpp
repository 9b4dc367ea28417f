#include "core/gemm_simd.h"

#include <hwy/cache_control.h>
#include <omp.h>

#include <memory>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/gemm_simd.cpp"
#include "hwy/foreach_target.h"
// Once for each target, hence after the line above.
#include "core/gemm_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::simd::HWY_NAMESPACE {
namespace {

// Op(b) is packed for as many columns at a time as hold at most so many elements, and for so many terms of k.
constexpr std::int64_t kMaxPackedElements = std::int64_t{1} << 22;
constexpr std::int64_t kMaxPackedDepth = 16 * kDepth;

// Tiles cut into `count` blocks that differ by one tile at most: block i starts at tile begin(i).
struct Cut {
  std::int64_t tiles, count;
  std::int64_t begin(std::int64_t i) const { return tiles * i / count; }
};

// How the threads share c, by blocks of tiles. Its bits do not depend on it.
struct Blocks {
  static constexpr std::int64_t kMaxRows = 16 * kTileRows, kMaxCols = 1024;
  Cut rows, cols;

  Blocks(std::int64_t m, std::int64_t n) : rows{ceil_div(m, kTileRows), 1}, cols{ceil_div(n, kTileCols), 1} {
    constexpr std::int64_t kMinRowTiles = 4;
    const std::int64_t threads = omp_get_num_threads();
    const std::int64_t even_share = threads * ceil_div(rows.tiles * kTileRows, threads * kMaxRows);
    rows.count = std::min(even_share, ceil_div(rows.tiles, kMinRowTiles));
    const std::int64_t enough = rows.count == even_share ? 1 : ceil_div(2 * threads, rows.count);
    cols.count = std::min(std::max(enough, ceil_div(cols.tiles * kTileCols, kMaxCols)), cols.tiles);
  }
};

// What a thread needs for a block of c. Its sums go to c once, after the last kDepth of k: c's own rows, far apart,
// would not stay in the core's cache.
struct Scratch {
  alignas(kLineBytes) float rows[Blocks::kMaxRows / kTileRows * kRowPanel];  // of op(a), packed
  alignas(kLineBytes) float sums[Blocks::kMaxRows * Blocks::kMaxCols];       // tile by tile
};

// About a MiB, kept from product to product.
Scratch& scratch_of_thread() {
  thread_local const auto scratch = std::make_unique_for_overwrite<Scratch>();
  return *scratch;
}

// Op(b) [depth, cols], packed: for each kDepth of its rows, for each kTileCols of its columns, a panel.
struct PackedCols {
  float* data;
  std::int64_t depth, cols;

  std::int64_t tiles() const { return ceil_div(cols, kTileCols); }
  // Of the panels that start at row l.
  std::int64_t panel_depth(std::int64_t l) const { return std::min(kDepth, depth - l); }
  float* panel(std::int64_t l, std::int64_t tile) const {
    return data + (l * tiles() + tile * panel_depth(l)) * kTileCols;
  }
};

// Shared by the threads of a team.
template <class T>
void pack_by_team(View<T> b, PackedCols to) {
  constexpr std::int64_t kRows = 64, kTiles = 8;
#pragma omp for collapse(2) schedule(static)
  for (std::int64_t first = 0; first < to.tiles(); first += kTiles) {
    for (std::int64_t l = 0; l < to.depth; l += kRows) {
      const std::int64_t depth = std::min(kRows, to.depth - l), block = l / kDepth * kDepth;
      for (std::int64_t tile = first; tile < std::min(first + kTiles, to.tiles()); ++tile) {
        pack_cols(b.from(l, tile * kTileCols), depth, std::min(kTileCols, to.cols - tile * kTileCols),
                  to.panel(block, tile) + (l - block) * kTileCols);
      }
      hwy::FlushStream();
    }
  }
}

void copy_part(Tile from, Tile to, std::int64_t rows, std::int64_t cols) {
  for (std::int64_t i = 0; i < rows; ++i) std::copy_n(from.data + i * from.stride, cols, to.data + i * to.stride);
}

void multiply_tile(std::int64_t cols, bool contiguous_rows, const float* a, const float* b, std::int64_t depth,
                   Tile from, Tile to, Ahead& next_rows, Ahead& next_cols) {
  const auto wide = contiguous_rows ? multiply_panels<2, true> : multiply_panels<2, false>;
  const auto narrow = contiguous_rows ? multiply_panels<1, true> : multiply_panels<1, false>;
  (cols > kLanes ? wide : narrow)(a, b, depth, from, to, next_rows, next_cols);
}

// A block of c: its first row and tile of columns, and its size.
struct Block {
  std::int64_t row, rows, tile, tiles;
};

// c's block (=, or += with `accumulate`) of op(a) and a packed op(b).
template <class T>
void multiply_block(View<T> a, PackedCols b, Block block, Scratch& scratch, Tile c, bool accumulate) {
  const bool contiguous = a.col_stride == 1;
  const std::int64_t row_tiles = ceil_div(block.rows, kTileRows);
  for (std::int64_t l = 0; l < b.depth; l += kDepth) {
    const std::int64_t depth = b.panel_depth(l);
    const bool first = l == 0, last = l + depth == b.depth;
    pack_rows(a.from(block.row, l), block.rows, depth, scratch.rows);
    Ahead next_rows = ahead_of(a.from(block.row, last ? l : l + depth), block.rows, last ? 0 : b.panel_depth(l + depth),
                               row_tiles * block.tiles);
    for (std::int64_t j = 0; j < block.tiles; ++j) {
      const std::int64_t cols = std::min(kTileCols, b.cols - (block.tile + j) * kTileCols);
      const float* panel = b.panel(l, block.tile + j);
      const float* next_panel =
          j + 1 < block.tiles ? panel + depth * kTileCols : b.panel(last ? 0 : l + depth, block.tile);
      Ahead next_cols = ahead_of<float>({next_panel, kTileCols, 1}, depth, kTileCols, row_tiles);
      for (std::int64_t i = 0; i < row_tiles; ++i) {
        const std::int64_t rows = std::min(kTileRows, block.rows - i * kTileRows);
        const bool whole = rows == kTileRows && cols == kTileCols;
        const Tile out{c.data + (block.row + i * kTileRows) * c.stride + (block.tile + j) * kTileCols, c.stride};
        const Tile sum{scratch.sums + (j * row_tiles + i) * kTileRows * kTileCols, kTileCols};
        if (first && accumulate && !whole) copy_part(out, sum, rows, cols);
        const Tile from = first && whole ? out : sum, to = last && whole ? out : sum;
        multiply_tile(cols, contiguous, scratch.rows + i * kRowPanel, panel, depth,
                      first && !accumulate ? Tile{} : from, to, next_rows, next_cols);
        if (last && !whole) copy_part(sum, out, rows, cols);
      }
    }
  }
}

// c [m, b.cols] (=, or +=) of op(a) [m, b.depth] and a packed op(b), shared by the threads of a team.
template <class T>
void multiply_by_team(View<T> a, PackedCols b, std::int64_t m, Scratch& scratch, Tile c, bool accumulate) {
  const Blocks blocks(m, b.cols);
#pragma omp for collapse(2) schedule(dynamic, 1)
  for (std::int64_t j = 0; j < blocks.cols.count; ++j) {
    for (std::int64_t i = 0; i < blocks.rows.count; ++i) {
      const std::int64_t row = kTileRows * blocks.rows.begin(i), tile = blocks.cols.begin(j);
      const std::int64_t rows = std::min(kTileRows * blocks.rows.begin(i + 1), m) - row;
      multiply_block(a, b, {row, rows, tile, blocks.cols.begin(j + 1) - tile}, scratch, c, accumulate);
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

// [columns, depth] of op(b) that are packed at a time.
Shape packed_shape(std::int64_t n, std::int64_t k) {
  const std::int64_t depth = std::min(k, kMaxPackedDepth), tiles = ceil_div(n, kTileCols);
  return {kTileCols * std::clamp<std::int64_t>(kMaxPackedElements / (kTileCols * depth), 1, tiles), depth};
}

template <class T>
void multiply(View<T> a, View<T> b, float* c, const GemmProblem& p) {
  if (wants_dots(a, b, p)) return multiply_by_dots(a, b, c, p);
  const Tensor packed = Tensor::empty(packed_shape(p.n, p.k));
  const std::int64_t cols = packed.size(0), depth = packed.size(1);
#pragma omp parallel
  for (std::int64_t l = 0; l < p.k; l += depth) {
    for (std::int64_t j = 0; j < p.n; j += cols) {
      const PackedCols right{packed.data<float>(), std::min(depth, p.k - l), std::min(cols, p.n - j)};
      pack_by_team(b.from(l, j), right);
      multiply_by_team(a.from(0, l), right, p.m, scratch_of_thread(), {c + j, p.n}, p.options.accumulate || l > 0);
    }
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
HWY_EXPORT(packed_shape);

}  // namespace

void gemm(const Tensor& a, const Tensor& b, const Tensor& c, const GemmProblem& problem) {
  HWY_DYNAMIC_DISPATCH(multiply_tensors)(a, b, c, problem);
}

Shape packed_shape(std::int64_t n, std::int64_t k) { return HWY_DYNAMIC_DISPATCH(packed_shape)(n, k); }

}  // namespace mudelta::simd
#endif  // HWY_ONCE
