#pragma once

#include <cstdint>

#include "kernels/cuda/simt.h"

// Matrices of bfloat16 in shared memory, and the fragments of the tensor cores (m16n8k16) that are read from them.
// Positions (row, column) given to fragment functions are multiples of 16 unless said otherwise; all lanes of a warp
// call them with the same ones.
namespace mudelta::kernels::cuda {

constexpr int kVectorBytes = 16;
constexpr int kVectorElements = 8;  // of bfloat16

// A handle of a row-major matrix of shared memory. Within a row, vectors of 16 bytes are permuted by the row's index,
// so that the same column of 8 consecutive rows (8 | first row) lies in 8 different groups of 4 banks, which is what
// ldmatrix and stores of accumulators want; 8 consecutive vectors do too, which is what copies of rows want.
template <int kRows_, int kColumns_>
struct Tile {
  static constexpr int kRows = kRows_;
  static constexpr int kColumns = kColumns_;
  static constexpr int kVectorsPerRow = kColumns / kVectorElements;
  static constexpr int kNumel = kRows * kColumns;
  static constexpr int kBytes = kNumel * static_cast<int>(sizeof(bfloat16));
  static_assert(kColumns % kVectorElements == 0);

  bfloat16* data;  // aligned to 16 bytes

  // The 8 elements from column 8 * vector on.
  __device__ __forceinline__ bfloat16* vector(int row, int vector) const {
    return data + row * kColumns + (vector ^ permutation(row)) * kVectorElements;
  }
  // Of row + below, where 8 | row. All such rows are permuted alike, which the compiler would not see.
  __device__ __forceinline__ bfloat16* vector(int row, int below, int vector) const {
    return data + below * kColumns + (vector ^ permutation(below)) * kVectorElements + row * kColumns;
  }
  __device__ __forceinline__ bfloat16* at(int row, int column) const {
    const auto c = static_cast<unsigned>(column);
    return vector(row, static_cast<int>(c / kVectorElements)) + c % kVectorElements;
  }

 private:
  // A row of 8 n vectors starts at the same bank as the row before, one of 8 n + 4 half of the banks later, ...
  static __device__ __forceinline__ int permutation(int row) {
    if constexpr (kVectorsPerRow % 8 == 0) return row & 7;
    if constexpr (kVectorsPerRow % 8 == 4) return (row >> 1) & 3;
    if constexpr (kVectorsPerRow % 4 == 2) return (row >> 2) & 1;
    return 0;
  }
};

// ---- Global memory to tiles

// Whether the vectors of a tile that a thread copies, kThreads apart, are in one column and permuted alike: then they
// are found by adding. Not where many columns leave a kernel no registers for the addresses.
template <int kThreads, class Tile>
constexpr bool has_steady_columns() {
  return Tile::kVectorsPerRow % 8 == 0 && Tile::kVectorsPerRow <= 16 && kThreads % (8 * Tile::kVectorsPerRow) == 0 &&
         Tile::kRows % (kThreads / Tile::kVectorsPerRow) == 0;
}

// Thread `thread` of kThreads starts its part of copying rows of `columns` elements (a multiple of 8), `stride`
// elements apart and aligned to 16 bytes, into the tile. The tile's rows from `rows` on and its columns from `columns`
// on become zero; nothing beyond is read. The caller commits and waits for the copies.
template <int kThreads, class Tile>
__device__ __forceinline__ void copy_tile_async(const Tile& tile, const bfloat16* source, std::int64_t stride, int rows,
                                                int columns, int thread) {
  if constexpr (has_steady_columns<kThreads, Tile>()) {
    constexpr int kStep = kThreads / Tile::kVectorsPerRow;
    const int first = thread / Tile::kVectorsPerRow, column = thread % Tile::kVectorsPerRow * kVectorElements;
    const int valid_rows = column < columns ? rows : 0;
    bfloat16* to = tile.vector(first, column / kVectorElements);
    const bfloat16* from = source + first * stride + column;
#pragma unroll 4  // more addresses would fill registers
    for (int begin = 0; begin < Tile::kRows; begin += kStep) {
      const bool valid = begin + first < valid_rows;
      copy_async_16(to, valid ? from : source, valid);
      to += kStep * Tile::kColumns;
      from += kStep * stride;
    }
    return;
  }
  constexpr int kVectors = Tile::kRows * Tile::kVectorsPerRow;
#pragma unroll 1  // cheap as it is, and addresses of all rows would fill registers
  for (int first = 0; first < kVectors; first += kThreads) {
    const int i = first + thread;
    if (kVectors % kThreads != 0 && i >= kVectors) break;
    const int row = i / Tile::kVectorsPerRow, vector = i % Tile::kVectorsPerRow;
    const bool valid = row < rows && vector * kVectorElements < columns;
    const bfloat16* from = valid ? source + row * stride + vector * kVectorElements : source;
    copy_async_16(tile.vector(row, vector), from, valid);
  }
}

// ---- Tiles to fragments

// a [16, 16] = tile[row + m, column + k].
template <class Tile>
__device__ __forceinline__ void load_a(std::uint32_t (&a)[4], const Tile& tile, int row, int column) {
  const int lane = lane_index();
  load_matrix_x4(a, tile.vector(row, lane & 15, (column / kVectorElements) ^ (lane >> 4)));
}

// a [16, 16] = tile[row + k, column + m].
template <class Tile>
__device__ __forceinline__ void load_a_transposed(std::uint32_t (&a)[4], const Tile& tile, int row, int column) {
  const int lane = lane_index();
  load_matrix_x4_transposed(
      a, tile.vector(row, (lane >> 4) * 8 + (lane & 7), (column / kVectorElements) ^ ((lane >> 3) & 1)));
}

// Two fragments b [16, 8] side by side; `registers` is what one ldmatrix gives.
struct FragmentPair {
  std::uint32_t registers[4];
  __device__ __forceinline__ void get(int i, std::uint32_t (&b)[2]) const {
    b[0] = registers[2 * i];
    b[1] = registers[2 * i + 1];
  }
};

// b [16, 16] = tile[row + n, column + k].
template <class Tile>
__device__ __forceinline__ FragmentPair load_b(const Tile& tile, int row, int column) {
  const int lane = lane_index();
  FragmentPair b;
  load_matrix_x4(b.registers,
                 tile.vector(row, (lane >> 4) * 8 + (lane & 7), (column / kVectorElements) ^ ((lane >> 3) & 1)));
  return b;
}

// b [16, 16] = tile[row + k, column + n].
template <class Tile>
__device__ __forceinline__ FragmentPair load_b_transposed(const Tile& tile, int row, int column) {
  const int lane = lane_index();
  FragmentPair b;
  load_matrix_x4_transposed(b.registers, tile.vector(row, lane & 15, (column / kVectorElements) ^ (lane >> 4)));
  return b;
}

// ---- Accumulators

// A matrix [16, 8 kTiles] of float32 over a warp: kTiles accumulators of mma_bfloat16 side by side. The lane's elements
// are at rows accumulator_row() and that + 8, columns accumulator_column() + 8 tile and the next one.
template <int kTiles>
struct Accumulator {
  float tile[kTiles][4];

  __device__ __forceinline__ void set_zero() {
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) tile[t][i] = 0;
    }
  }
};

__device__ __forceinline__ int accumulator_row() { return lane_index() / 4; }
__device__ __forceinline__ int accumulator_column() { return lane_index() % 4 * 2; }

// Where a tile has the lane's first pair of an accumulator that begins at (row, column), multiples of 8. The other one
// is 8 rows below.
template <class Tile>
__device__ __forceinline__ bfloat16* accumulator_pair(const Tile& tile, int row, int column) {
  const auto vector = static_cast<int>(static_cast<unsigned>(column) / kVectorElements);
  return tile.vector(row, accumulator_row(), vector) + accumulator_column();
}

// Accumulator tiles `first` and first + 1, rounded to bfloat16, as a [16, 16]: the layouts are the same.
template <int kTiles>
__device__ __forceinline__ void pack_a(std::uint32_t (&a)[4], const Accumulator<kTiles>& c, int first) {
  a[0] = pack_bfloat16(c.tile[first][0], c.tile[first][1]);
  a[1] = pack_bfloat16(c.tile[first][2], c.tile[first][3]);
  a[2] = pack_bfloat16(c.tile[first + 1][0], c.tile[first + 1][1]);
  a[3] = pack_bfloat16(c.tile[first + 1][2], c.tile[first + 1][3]);
}

// The transpose of a [16, 16] as two b fragments side by side: of the same registers in another order.
__device__ __forceinline__ FragmentPair transposed_b(const std::uint32_t (&a)[4]) { return {{a[0], a[2], a[1], a[3]}}; }

// ---- Products of a warp

// Tiles `first` and first + 1 of c += a b.
template <int kTiles>
__device__ __forceinline__ void multiply(Accumulator<kTiles>& c, int first, const std::uint32_t (&a)[4],
                                         const FragmentPair& b) {
  std::uint32_t half[2];
  b.get(0, half);
  mma_bfloat16(c.tile[first], a, half);
  b.get(1, half);
  mma_bfloat16(c.tile[first + 1], a, half);
}

// c [16, n] += a[a_row + ., k] b[b_row + n, k] over all columns k of both tiles.
template <int kTiles, class TileA, class TileB>
__device__ __forceinline__ void multiply_abt(Accumulator<kTiles>& c, const TileA& a, int a_row, const TileB& b,
                                             int b_row) {
  static_assert(TileA::kColumns == TileB::kColumns && kTiles % 2 == 0);
#pragma unroll
  for (int k = 0; k < TileA::kColumns; k += 16) {
    std::uint32_t fragment[4];
    load_a(fragment, a, a_row, k);
#pragma unroll
    for (int t = 0; t < kTiles; t += 2) multiply(c, t, fragment, load_b(b, b_row + 8 * t, k));
  }
}

// c [16, n] += a[a_row + ., k] b[k, b_column + n] over k in [begin, end).
template <int kTiles, class TileA, class TileB>
__device__ __forceinline__ void multiply_ab(Accumulator<kTiles>& c, const TileA& a, int a_row, const TileB& b,
                                            int b_column, int begin = 0, int end = TileA::kColumns) {
  static_assert(kTiles % 2 == 0);
#pragma unroll
  for (int k = begin; k < end; k += 16) {
    std::uint32_t fragment[4];
    load_a(fragment, a, a_row, k);
#pragma unroll
    for (int t = 0; t < kTiles; t += 2) multiply(c, t, fragment, load_b_transposed(b, k, b_column + 8 * t));
  }
}

// c [16, n] += a[k, a_column + .] b[k, b_column + n] over k in [begin, end).
template <int kTiles, class TileA, class TileB>
__device__ __forceinline__ void multiply_atb(Accumulator<kTiles>& c, const TileA& a, int a_column, const TileB& b,
                                             int b_column, int begin = 0, int end = TileA::kRows) {
  static_assert(kTiles % 2 == 0);
#pragma unroll
  for (int k = begin; k < end; k += 16) {
    std::uint32_t fragment[4];
    load_a_transposed(fragment, a, k, a_column);
#pragma unroll
    for (int t = 0; t < kTiles; t += 2) multiply(c, t, fragment, load_b_transposed(b, k, b_column + 8 * t));
  }
}

// ---- Accumulators to memory

__device__ __forceinline__ void store_pair(float* to, float x, float y) {
  *reinterpret_cast<float2*>(to) = make_float2(x, y);
}
__device__ __forceinline__ void store_pair(bfloat16* to, float x, float y) {
  *reinterpret_cast<std::uint32_t*>(to) = pack_bfloat16(x, y);
}

// c [16, 8 kTiles] to a tile, from (row, column) on.
template <int kTiles, class Tile>
__device__ __forceinline__ void store_to_tile(const Accumulator<kTiles>& c, const Tile& tile, int row, int column) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    store_pair(accumulator_pair(tile, row, column + 8 * t), c.tile[t][0], c.tile[t][1]);
    store_pair(accumulator_pair(tile, row + 8, column + 8 * t), c.tile[t][2], c.tile[t][3]);
  }
}

// The transpose of c to a tile [8 kTiles, 16], from (row, column) on. Neighbouring rows of c trade elements, so that
// every lane has pairs along them.
template <int kTiles, class Tile>
__device__ __forceinline__ void store_transposed_to_tile(const Accumulator<kTiles>& c, const Tile& tile, int row,
                                                         int column) {
  const bool odd = accumulator_row() % 2 != 0;
  const int r = row + accumulator_column() + (odd ? 1 : 0), n = column + accumulator_row() / 2 * 2;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
    const std::uint32_t left = pack_bfloat16(c.tile[t][0], c.tile[t][2]);
    const std::uint32_t right = pack_bfloat16(c.tile[t][1], c.tile[t][3]);
    const std::uint32_t traded = __shfl_xor_sync(kAllLanes, odd ? left : right, 4);
    const std::uint32_t even_row = odd ? traded : left, odd_row = odd ? right : traded;
    *reinterpret_cast<std::uint32_t*>(tile.at(r + 8 * t, n)) = (even_row & 0xffffu) | (odd_row << 16);
    *reinterpret_cast<std::uint32_t*>(tile.at(r + 8 * t, n + 8)) = (even_row >> 16) | (odd_row & 0xffff0000u);
  }
}

// Four lanes that follow one another trade words, so that word j of lane i becomes word i of lane j.
__device__ __forceinline__ void transpose_in_fours(std::uint32_t (&words)[4]) {
#pragma unroll
  for (int bit = 1; bit < 4; bit *= 2) {
    const bool upper = (lane_index() & bit) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((i & bit) != 0) continue;
      const std::uint32_t traded = __shfl_xor_sync(kAllLanes, upper ? words[i] : words[i + bit], bit);
      words[i] = upper ? traded : words[i];
      words[i + bit] = upper ? words[i + bit] : traded;
    }
  }
}

// The first `rows` rows and `columns` columns (a multiple of 8) of c to global memory. Rows are `stride` elements apart
// and aligned to vectors. Of every four tiles, a lane stores a whole vector of one a row; the others go by pairs.
template <int kTiles>
__device__ __forceinline__ void store_to_global(const Accumulator<kTiles>& c, bfloat16* to, std::int64_t stride,
                                                int rows, int columns) {
  constexpr int kInVectors = kTiles / 4 * 4;
  const int r = accumulator_row();
#pragma unroll
  for (int t = 0; t < kInVectors; t += 4) {
    const int n = 8 * (t + lane_index() % 4);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      std::uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) words[i] = pack_bfloat16(c.tile[t + i][2 * half], c.tile[t + i][2 * half + 1]);
      transpose_in_fours(words);
      if (r + 8 * half < rows && n < columns) store_16(to + (r + 8 * half) * stride + n, words);
    }
  }
#pragma unroll
  for (int t = kInVectors; t < kTiles; ++t) {
    const int n = 8 * t + accumulator_column();
    if (n >= columns) continue;
    if (r < rows) store_pair(to + r * stride + n, c.tile[t][0], c.tile[t][1]);
    if (r + 8 < rows) store_pair(to + (r + 8) * stride + n, c.tile[t][2], c.tile[t][3]);
  }
}

// `rows` rows of `columns` columns (a multiple of 8) of a tile to global memory, from tile column `column` on (a
// multiple of 8), by kThreads threads in whole vectors.
template <int kThreads, int kColumns, class Tile>
__device__ __forceinline__ void store_tile_columns(const Tile& tile, int column, bfloat16* to, std::int64_t stride,
                                                   int rows, int thread) {
  constexpr int kVectorsPerRow = kColumns / kVectorElements;
#pragma unroll 1  // unrolled, it makes kernels that are short of registers spill
  for (int first = 0; first < Tile::kRows * kVectorsPerRow; first += kThreads) {
    const int i = first + thread, row = i / kVectorsPerRow, vector = i % kVectorsPerRow;
    if (row >= rows || row >= Tile::kRows) break;
    *reinterpret_cast<uint4*>(to + row * stride + vector * kVectorElements) =
        *reinterpret_cast<const uint4*>(tile.vector(row, column / kVectorElements + vector));
  }
}

}  // namespace mudelta::kernels::cuda
