#pragma once

#include "kernels/gated_delta_rule/cuda/chunk.h"
#include "kernels/gated_delta_rule/cuda/tile.h"

// How a block of gradients.cu lays out its work: what is in shared memory, what each warp owns, and
// what it holds in registers. Notation as there.
namespace mudelta::kernels::cuda::gated_delta_rule::gradients {

constexpr int kSlab = 64;  // value columns at a time

// The block's warps are kWarpRows x kColumns: a warp owns 16 rows of every matrix with kChunk rows, and one of kColumns
// parts of its columns. Few warps with many registers: of key_dim 256, dq and dk alone take 128 a thread.
constexpr int kWarpRows = kChunk / 16, kColumns = 2;
constexpr int kWarps = kWarpRows * kColumns, kThreads = kWarps * kWarpSize;
constexpr int kValueColumns = kSlab / kColumns, kChunkColumns = kChunk / kColumns;

// What the calling warp owns.
struct Part {
  int row;     // its first one
  int column;  // index of its part of the columns
};
// Every step asks anew: addresses kept from one to the next would fill registers, and the compiler keeps none that
// follow from a shuffle.
__device__ __forceinline__ Part part_of_warp() {
  const auto warp = static_cast<unsigned>(uniform_warp_index());
  return {.row = static_cast<int>(warp % kWarpRows * 16), .column = static_cast<int>(warp / kWarpRows % kColumns)};
}

using Values = Tile<kChunk, kSlab>;

// float32 [kChunk, kChunk], padded so that the stores of accumulators meet no bank twice.
struct Products {
  static constexpr int kStride = kChunk + 8;
  float* data;
  __device__ __forceinline__ float& at(int row, int column) const { return data[row * kStride + column]; }
};

// What takes the place of a head's operands once all its slabs are done.
struct Epilogue {
  static constexpr int kFloats = Products::kStride * kChunk + (3 * kColumns + kWarps) * kChunk + kWarps;
  static constexpr int kBytes = 2 * Square::kBytes + kFloats * static_cast<int>(sizeof(float));

  Square dp, dkk;
  Products m;
  float* row_sums;  // [3, kColumns, kChunk]: of a, e, dbeta
  float* m_sums;    // [kWarps, kChunk]
  float* z_sums;    // [kWarps]

  __device__ __forceinline__ static Epilogue at(bfloat16* memory) {
    bfloat16* dkk = memory + Square::kNumel;
    auto* m = reinterpret_cast<float*>(dkk + Square::kNumel);
    float *row_sums = m + Products::kStride * kChunk, *m_sums = row_sums + 3 * kColumns * kChunk;
    return {{memory}, {dkk}, {m}, row_sums, m_sums, m_sums + kWarps * kChunk};
  }
};

template <int kKeyDim>
struct Layout {
  // Two, so that a slab is loaded while the one before is worked on, where sm_80 has the room (163 KiB).
  static constexpr int kStages = kKeyDim <= 128 ? 2 : 1;
  static constexpr int kKeyColumns = kKeyDim / kColumns;

  using Keys = Tile<kChunk, kKeyDim>;
  using State = Tile<kSlab, kKeyDim>;  // transposed
  using KeyAccumulator = Accumulator<kKeyColumns / 8>;

  // The operands of one slab. `v` becomes Y, then N.
  struct Stage {
    static constexpr int kNumel = 2 * State::kNumel + 3 * Values::kNumel;
    State state, dstate;
    Values v, d_o, dy;
  };

  static constexpr int kStageBytes = Stage::kNumel * static_cast<int>(sizeof(bfloat16));
  static constexpr int kBytes = 2 * Keys::kBytes + LowerSquare::kBytes + kStages * kStageBytes + SharedGates::kBytes;
  static_assert(Epilogue::kBytes <= kStages * kStageBytes && kBytes <= kMostSharedBytes);

  Keys q, k;
  LowerSquare solve;
  SharedGates gates;
  bfloat16* stages;

  __device__ __forceinline__ static Layout at(bfloat16* memory) {
    bfloat16 *k = memory + Keys::kNumel, *solve = k + Keys::kNumel, *stages = solve + LowerSquare::kNumel;
    return {{memory}, {k}, {solve}, {reinterpret_cast<float*>(stages + kStages * Stage::kNumel)}, stages};
  }
  __device__ __forceinline__ Stage stage(int index) const {
    bfloat16* state = stages + index % kStages * Stage::kNumel;
    bfloat16 *dstate = state + State::kNumel, *v = dstate + State::kNumel, *d_o = v + Values::kNumel;
    return {{state}, {dstate}, {v}, {d_o}, {d_o + Values::kNumel}};
  }
  __device__ __forceinline__ Epilogue epilogue() const { return Epilogue::at(stages); }
};

// What a warp accumulates of one value head, and of the lane's two rows.
struct HeadSums {
  Accumulator<kChunkColumns / 8> dpg, da;  // dO N^T, dY N^T; on and below the diagonal blocks
  float a[2], e[2], dbeta[2];              // parts of rows accumulator_row() and that + 8
  float z;                                 // part of <dS', S>

  __device__ __forceinline__ void set_zero() {
    dpg.set_zero();
    da.set_zero();
    for (int i = 0; i < 2; ++i) a[i] = e[i] = dbeta[i] = 0.0f;
    z = 0.0f;
  }
};

}  // namespace mudelta::kernels::cuda::gated_delta_rule::gradients
