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

using Square = Tile<kChunk, kChunk>;

// A lower triangular matrix [kChunk, kChunk]: its blocks of 16 x 16 on and below the diagonal, row by row of blocks.
struct LowerSquare {
  static constexpr int kBlocks = 10;
  using Blocks = Tile<16 * kBlocks, 16>;
  static constexpr int kNumel = Blocks::kNumel, kBytes = Blocks::kBytes;

  Blocks blocks;

  // The first of the rows that the block at (row, column) has in `blocks`.
  __device__ __forceinline__ static constexpr int first_row(int row, int column) {
    const int block_row = row / 16;
    return 16 * (block_row * (block_row + 1) / 2 + column / 16);
  }
};

__device__ __forceinline__ void load_a(std::uint32_t (&a)[4], const LowerSquare& m, int row, int column) {
  load_a(a, m.blocks, LowerSquare::first_row(row, column), 0);
}
__device__ __forceinline__ FragmentPair load_b(const LowerSquare& m, int row, int column) {
  return load_b(m.blocks, LowerSquare::first_row(row, column), 0);
}
__device__ __forceinline__ FragmentPair load_b_transposed(const LowerSquare& m, int row, int column) {
  return load_b_transposed(m.blocks, LowerSquare::first_row(row, column), 0);
}

// Those of a chunk's rows. Rows past the chunk's end have beta = 0 and c = c_L.
struct SharedGates {
  static constexpr int kFloats = 4 * kChunk, kBytes = kFloats * static_cast<int>(sizeof(float));

  float* memory;

  __device__ __forceinline__ float& from_start(int row) const { return memory[row]; }       // e^c
  __device__ __forceinline__ float& to_end(int row) const { return memory[kChunk + row]; }  // e^{c_L - c}
  __device__ __forceinline__ float& beta(int row) const { return memory[2 * kChunk + row]; }
  __device__ __forceinline__ float& decay(int row) const { return memory[3 * kChunk + row]; }  // c
  __device__ __forceinline__ float whole() const { return from_start(kChunk - 1); }            // e^{c_L}

  // G_ij
  __device__ __forceinline__ float between(int i, int j) const {
    return j <= i ? fast_exp2((decay(i) - decay(j)) * kLog2E) : 0.0f;
  }
};

// What prepare has made of the chunks, [slots, value_heads, ...] each.
struct Prepared {
  const float* gates;
  const bfloat16* solve;   // T . G
  const bfloat16* scores;  // scale (Q K^T) . G
};

inline Prepared prepared_of(const Saved& saved) {
  return {saved.gates.data<float>(), saved.solve.data<bfloat16>(), saved.scores.data<bfloat16>()};
}

// Start copies of chunk `index` of all slots' and value heads'; the caller commits and waits for them.
template <int kThreads>
__device__ __forceinline__ void copy_gates_async(const SharedGates& to, const float* gates, std::int64_t index,
                                                 int thread) {
  constexpr int kVectorFloats = 4, kVectors = SharedGates::kFloats / kVectorFloats;
  static_assert(kVectors <= kThreads);
  if (thread < kVectors) {
    const int i = kVectorFloats * thread;
    copy_async_16(to.memory + i, gates + index * SharedGates::kFloats + i, true);
  }
}
template <int kThreads>
__device__ __forceinline__ void copy_lower_async(const LowerSquare& to, const bfloat16* squares, std::int64_t index,
                                                 int thread) {
  constexpr int kVectors = LowerSquare::kNumel / kVectorElements;
  const bfloat16* from = squares + index * LowerSquare::kNumel;
#pragma unroll
  for (int first = 0; first < kVectors; first += kThreads) {
    const int i = first + thread;
    if (i < kVectors) copy_async_16(to.blocks.vector(i / 2, i % 2), from + kVectorElements * i, true);
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
