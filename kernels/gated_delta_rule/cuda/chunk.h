#pragma once

#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/cuda/tile.h"

// Device code that the kernels of the gated delta rule share: where a chunk is, and what they compute of it in shared
// memory. Notation as in launches.h.
namespace mudelta::kernels::cuda::gated_delta_rule {

constexpr float kLog2E = 1.4426950408889634f;

// e^g of any lower g is zero among the normal float32 numbers as well; the bound keeps the digits of cumulative sums.
constexpr float kLowestLogDecay = -88.0f;

// Scans: value columns of a warp, and the blocks of 16 rows that their products go by.
constexpr int kWarpColumns = 16;
constexpr int kTokenBlocks = kChunk / 16;

struct Chunk {
  int sequence;
  int begin;   // its first token
  int length;  // its rows, 1 to kChunk
};

// Of runs of `rows` tokens: chunks or segments.
__device__ __forceinline__ int first_slot(const std::int32_t* cu_seqlens, int sequence, int rows = kChunk) {
  return cu_seqlens[sequence] / rows + sequence;
}

// The last sequence whose first slot is <= slot.
__device__ __forceinline__ int sequence_of_slot(const std::int32_t* cu_seqlens, int sequences, int slot, int rows) {
  int low = max(slot - cu_seqlens[sequences] / rows, 0), high = min(slot + 1, sequences);  // it lies in [low, high)
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (first_slot(cu_seqlens, middle, rows) <= slot ? low : high) = middle;
  }
  return low;
}

// False if no chunk uses the slot.
__device__ __forceinline__ bool find_chunk(const std::int32_t* cu_seqlens, int sequences, int slot, Chunk& chunk) {
  const int sequence = sequence_of_slot(cu_seqlens, sequences, slot, kChunk);
  const int begin = cu_seqlens[sequence] + (slot - first_slot(cu_seqlens, sequence)) * kChunk;
  const int left = cu_seqlens[sequence + 1] - begin;
  chunk = {.sequence = sequence, .begin = begin, .length = left < kChunk ? left : kChunk};
  return left > 0;
}

// What a block of a scan goes through: a segment of a sequence, or all of it.
struct Segment {
  int slot;
  int sequence;
  int begin, length;       // tokens
  int first_slot;          // of its chunks
  bool is_first, is_last;  // of its sequence

  __device__ __forceinline__ int chunks() const { return (length + kChunk - 1) / kChunk; }
  __device__ __forceinline__ Chunk chunk(int index) const {
    const int left = length - index * kChunk;
    return {.sequence = sequence, .begin = begin + index * kChunk, .length = left < kChunk ? left : kChunk};
  }
};

// False if no segment uses the slot. A sequence without tokens has one segment.
__device__ __forceinline__ bool find_segment(const std::int32_t* cu_seqlens, int sequences, int rows, int slot,
                                             Segment& segment) {
  const int sequence = sequence_of_slot(cu_seqlens, sequences, slot, rows);
  const int index = slot - first_slot(cu_seqlens, sequence, rows);
  const int begin = cu_seqlens[sequence] + index * rows, left = cu_seqlens[sequence + 1] - begin;
  segment = {.slot = slot,
             .sequence = sequence,
             .begin = begin,
             .length = min(left, rows),
             .first_slot = first_slot(cu_seqlens, sequence) + index * (rows / kChunk),
             .is_first = index == 0,
             .is_last = left <= rows};
  return left > 0 || index == 0;
}

// Whether scans of so many states go by blocks of 8 warps, each with 128 value columns, instead of 4 with 64: these
// share more of the tiles that they load and build, but there must be enough to leave few multiprocessors (108 on an
// A100, 132 on an H100) without one.
inline bool choose_wide_slabs(std::int64_t states, int value_dim) {
  constexpr int kEnoughBlocks = 80, kWideSlab = 128;
  return states * divide_up(value_dim, kWideSlab) >= kEnoughBlocks && value_dim > 64;
}

using Square = Tile<kChunk, kChunk>;

// Of one row, in registers.
struct RowGates {
  float decay, last_decay, beta;  // c_i, c_L, beta_i
};

__device__ __forceinline__ RowGates load_row_gates(const float* decay, const float* beta, int value_heads,
                                                   int value_head, const Chunk& chunk, int row) {
  const auto at = [&](int i) { return static_cast<std::int64_t>(chunk.begin + i) * value_heads + value_head; };
  const float last = decay[at(chunk.length - 1)];
  if (row >= chunk.length) return {last, last, 0.0f};
  return {decay[at(row)], last, beta[at(row)]};
}

// Of all rows, in shared memory.
struct SharedGates {
  static constexpr int kFloats = 4 * kChunk;

  float* memory;

  __device__ __forceinline__ float& decay(int row) const { return memory[row]; }                // c
  __device__ __forceinline__ float& from_start(int row) const { return memory[kChunk + row]; }  // e^c
  __device__ __forceinline__ float& to_end(int row) const { return memory[2 * kChunk + row]; }  // e^{c_L - c}
  __device__ __forceinline__ float& beta(int row) const { return memory[3 * kChunk + row]; }
  __device__ __forceinline__ float whole() const { return from_start(kChunk - 1); }  // e^{c_L}

  __device__ __forceinline__ void set(int row, const RowGates& gates) const {
    decay(row) = gates.decay;
    from_start(row) = fast_exp2(gates.decay * kLog2E);
    to_end(row) = fast_exp2((gates.last_decay - gates.decay) * kLog2E);
    beta(row) = gates.beta;
  }
  // G_ij
  __device__ __forceinline__ float between(int i, int j) const {
    return j <= i ? fast_exp2((decay(i) - decay(j)) * kLog2E) : 0.0f;
  }
};

// T . G in the place of T, on and below the diagonal blocks.
template <int kThreads>
__device__ __forceinline__ void apply_gates(const Square& solve, const SharedGates& gates, int thread) {
#pragma unroll
  for (int i = thread; i < kChunk * Square::kVectorsPerRow; i += kThreads) {
    const int row = i % kChunk,
              column = i / kChunk * kVectorElements;  // a warp reads the gates of one column at a time
    if (column / 16 > row / 16) continue;
    auto* vector = reinterpret_cast<uint4*>(solve.vector(row, column / kVectorElements));
    uint4 values = *vector;
    const auto gated = [&](unsigned pair, int first) {
      return pack_bfloat16(low_float(pair) * gates.between(row, first),
                           high_float(pair) * gates.between(row, first + 1));
    };
    values = make_uint4(gated(values.x, column), gated(values.y, column + 2), gated(values.z, column + 4),
                        gated(values.w, column + 6));
    *vector = values;
  }
}

// scale (Q K^T) . G on and below the diagonal blocks.
template <int kWarps, int kKeyDim>
__device__ __forceinline__ void gated_products(const Tile<kChunk, kKeyDim>& q, const Tile<kChunk, kKeyDim>& k,
                                               float scale, const SharedGates& gates, const Square& to, int warp) {
  for (int block = warp; block < 10; block += kWarps) {  // 0; 1, 2; 3, 4, 5; 6, 7, 8, 9: the rows of blocks
    const int block_row = block < 1 ? 0 : block < 3 ? 1 : block < 6 ? 2 : 3;
    const int row = 16 * block_row, column = 16 * (block - block_row * (block_row + 1) / 2);
    Accumulator<2> products;
    products.set_zero();
    multiply_abt(products, q, row, k, column);
#pragma unroll
    for (int t = 0; t < 2; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        products.tile[t][i] *=
            scale * gates.between(row + accumulator_row() + i / 2 * 8, column + 8 * t + accumulator_column() + i % 2);
      }
    }
    store_to_tile(products, to, row, column);
  }
}

// S^T of 16 value columns between the registers of a warp and a matrix [key_dim, columns] of float32; `column` is the
// warp's first.
template <int kTiles>
__device__ __forceinline__ void load_state(Accumulator<kTiles>& state, const float* matrix, int columns, int column) {
  const float* row = matrix + accumulator_column() * columns + column + accumulator_row();
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) state.tile[t][i] = row[i % 2 * columns + i / 2 * 8];
    row += 8 * columns;
  }
}
template <int kTiles>
__device__ __forceinline__ void store_state(const Accumulator<kTiles>& state, float* matrix, int columns, int column) {
  float* row = matrix + accumulator_column() * columns + column + accumulator_row();
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) row[i % 2 * columns + i / 2 * 8] = state.tile[t][i];
    row += 8 * columns;
  }
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
