#pragma once

#include "kernels/gated_delta_rule/cuda/chunk.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/cuda/tile.h"

// The chunks of a segment from last to first. With dS' the gradient of the state at the end of a chunk, and
// Pg = scale (Q K^T) . G:
//   dN = e^{c_L - c} K dS' + Pg^T dO     dY = (T . G)^T dN     (of N = (T . G) Y, Y = diag(beta) W)
//   dS = e^{c_L} dS' + scale (e^c Q)^T dO - K^T (e^c beta dY)
// A warp owns 16 value columns and holds their part of dS^T in registers; dN^T, dY^T and dO^T are the left operands of
// its products, so that warps never exchange any of these.
namespace mudelta::kernels::cuda::gated_delta_rule::backward {

// kSegments: the gradients of segment_dstates, and nothing else.
enum class Result { kGradients, kSegments };

struct BackwardScanParameters {
  KernelSizes sizes;
  float scale;
  int segment_rows;
  const std::int32_t* cu_seqlens;
  const bfloat16* q;    // [tokens, heads, key_dim]
  const bfloat16* k;    // [tokens, heads, key_dim]
  const bfloat16* d_o;  // [tokens, value_heads, value_dim]
  Prepared prepared;
  const float*
      dfinal_state;       // [segment slots, value_heads, key_dim, value_dim]; of kSegments [sequences, ...]; null: 0
  bfloat16* dstates;      // [slots, value_heads, value_dim, key_dim]; of kGradients
  bfloat16* dy;           // [tokens, value_heads, value_dim]; of kGradients
  float* dinitial_state;  // [sequences, value_heads, key_dim, value_dim], or null; of kGradients
  float* dsegments;       // [segment slots, value_heads, key_dim, value_dim]; of kSegments
};

inline BackwardScanParameters parameters_of(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& d_o,
                                            const Tensor& dfinal_state) {
  return {.sizes = sizes_of(inputs),
          .scale = inputs.scale,
          .segment_rows = segment_rows(saved),
          .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>(),
          .q = inputs.q.data<bfloat16>(),
          .k = inputs.k.data<bfloat16>(),
          .d_o = d_o.data<bfloat16>(),
          .prepared = prepared_of(saved),
          .dfinal_state = data_or_null(dfinal_state),
          .dstates = nullptr,
          .dy = nullptr,
          .dinitial_state = nullptr,
          .dsegments = nullptr};
}

inline BackwardScanParameters gradients_parameters(const GatedDeltaRuleInputs& inputs, const Saved& saved,
                                                   const Tensor& d_o, const Tensor& dfinal_state, const Tensor& dstates,
                                                   const Tensor& dy, const Tensor& dinitial_state) {
  BackwardScanParameters parameters = parameters_of(inputs, saved, d_o, dfinal_state);
  parameters.dstates = dstates.data<bfloat16>();
  parameters.dy = dy.data<bfloat16>();
  parameters.dinitial_state = data_or_null(dinitial_state);
  return parameters;
}

// One chunk's operands, for a block of kWarps.
template <int kKeyDim, int kWarps>
struct Stage {
  static constexpr int kThreads = kWarps * kWarpSize, kSlab = kWarps * kWarpColumns;
  using Keys = Tile<kChunk, kKeyDim>;
  using Values = Tile<kChunk, kSlab>;
  static constexpr int kBytes = 2 * Keys::kBytes + Values::kBytes + 2 * LowerSquare::kBytes + SharedGates::kBytes;
  static constexpr int kStages = kKeyDim <= 128 ? 2 : 1;

  Keys k, q;
  Values d_o;
  LowerSquare solve, scores;
  SharedGates gates;

  __device__ __forceinline__ static Stage at(unsigned char* memory) {
    auto* elements = reinterpret_cast<bfloat16*>(memory);
    bfloat16 *q = elements + Keys::kNumel, *d_o = q + Keys::kNumel, *solve = d_o + Values::kNumel;
    bfloat16* scores = solve + LowerSquare::kNumel;
    return {{elements}, {q}, {d_o}, {solve}, {scores}, {reinterpret_cast<float*>(scores + LowerSquare::kNumel)}};
  }
};

template <int kKeyDim, int kWarps>
constexpr int shared_bytes() {
  using Stage = Stage<kKeyDim, kWarps>;
  constexpr int kBytes = Stage::kStages * Stage::kBytes;
  static_assert(kBytes <= kMostSharedBytes);
  return kBytes;
}

// a [m, k] times factor(first_row + k).
template <class F>
__device__ __forceinline__ void scale_columns(std::uint32_t (&a)[4], int first_row, F&& factor) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = first_row + accumulator_column() + i / 2 * 8;
    a[i] = pack_bfloat16(low_float(a[i]) * factor(row), high_float(a[i]) * factor(row + 1));
  }
}

// Column n of c times factor(first_row + n).
template <int kTiles, class F>
__device__ __forceinline__ void scale_columns(Accumulator<kTiles>& c, int first_row, F&& factor) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) c.tile[t][i] *= factor(first_row + 8 * t + accumulator_column() + i % 2);
  }
}

// Of c [16, n] += a[., k] b[k, n], the part of 16 rows of b from `row` on, for all columns of c.
template <int kTiles, class Tile>
__device__ __forceinline__ void multiply_rows(Accumulator<kTiles>& c, const std::uint32_t (&a)[4], const Tile& b,
                                              int row) {
#pragma unroll
  for (int t = 0; t < kTiles; t += 2) multiply(c, t, a, load_b_transposed(b, row, 8 * t));
}

// The same for a lower triangular b.
__device__ __forceinline__ void multiply_lower_rows(Accumulator<kChunk / 8>& c, const std::uint32_t (&a)[4],
                                                    const LowerSquare& b, int row) {
#pragma unroll
  for (int t = 0; t <= row / 8; t += 2) multiply(c, t, a, load_b_transposed(b, row, 8 * t));
}

// Turns dS' of the warp's columns into dS, and leaves dY in the warp's columns of stage.d_o.
template <int kKeyDim, int kWarps>
__device__ __forceinline__ void step_back(Accumulator<kKeyDim / 8>& dstate, const Stage<kKeyDim, kWarps>& stage,
                                          float scale) {
  const SharedGates& gates = stage.gates;
  const int column = kWarpColumns * uniform_warp_index();
  Accumulator<kChunk / 8> dn;  // dN^T [16, kChunk]
  dn.set_zero();
#pragma unroll
  for (int k = 0; k < kKeyDim; k += 16) {
    std::uint32_t a[4];
    pack_a(a, dstate, k / 8);
#pragma unroll
    for (int t = 0; t < kChunk / 8; t += 2) multiply(dn, t, a, load_b(stage.k, 8 * t, k));
  }
  scale_columns(dn, 0, [&](int row) { return gates.to_end(row); });
  const float whole = gates.whole();
#pragma unroll
  for (int t = 0; t < kKeyDim / 8; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) dstate.tile[t][i] *= whole;
  }

#pragma unroll
  for (int row = 0; row < kChunk; row += 16) {
    std::uint32_t a[4];
    load_a_transposed(a, stage.d_o, row, column);
    multiply_lower_rows(dn, a, stage.scores, row);
    scale_columns(a, row, [&](int i) { return scale * gates.from_start(i); });
    multiply_rows(dstate, a, stage.q, row);
  }

  std::uint32_t packed_dn[kTokenBlocks][4];
#pragma unroll
  for (int n = 0; n < kTokenBlocks; ++n) pack_a(packed_dn[n], dn, 2 * n);
  __syncwarp();  // dO of these columns has been read
#pragma unroll
  for (int n = 0; n < kTokenBlocks; ++n) {
    Accumulator<2> dy;  // of dY^T, the columns of 16 tokens
    dy.set_zero();
#pragma unroll
    for (int k = n; k < kTokenBlocks; ++k) {
      multiply(dy, 0, packed_dn[k], load_b_transposed(stage.solve, 16 * k, 16 * n));
    }
    store_transposed_to_tile(dy, stage.d_o, 16 * n, column);
    scale_columns(dy, 16 * n, [&](int row) { return -gates.from_start(row) * gates.beta(row); });
    std::uint32_t a[4];
    pack_a(a, dy, 0);
    multiply_rows(dstate, a, stage.k, 16 * n);
  }
  __syncwarp();  // dY of these columns is written
}

// Block `block` (segment slot, value head, slab of value columns).
template <int kKeyDim, int kWarps, Result kResult>
__device__ __forceinline__ void scan_segment(const BackwardScanParameters& p, int block) {
  using Stage = Stage<kKeyDim, kWarps>;
  constexpr int kThreads = Stage::kThreads, kSlab = Stage::kSlab;
  constexpr bool kSegments = kResult == Result::kSegments;
  const int slabs = static_cast<int>(divide_up(p.sizes.value_dim, kSlab)), thread = static_cast<int>(threadIdx.x);
  const int slab = block % slabs;
  const int value_head = block / slabs % p.sizes.value_heads;
  const int segment_slot = block / slabs / p.sizes.value_heads;
  const int head = value_head / (p.sizes.value_heads / p.sizes.heads);
  const int value_dim = p.sizes.value_dim, slab_column = slab * kSlab;
  const int column = slab_column + uniform_warp_index() * kWarpColumns;  // the warp's first
  const bool active = column < value_dim;

  Segment segment;
  if (!find_segment(p.cu_seqlens, p.sizes.sequences, p.segment_rows, segment_slot, segment)) return;
  const std::int64_t key_stride = static_cast<std::int64_t>(p.sizes.heads) * kKeyDim;
  const std::int64_t value_stride = static_cast<std::int64_t>(p.sizes.value_heads) * value_dim;
  const auto square_index = [&](int index) {
    return static_cast<std::int64_t>(segment.first_slot + index) * p.sizes.value_heads + value_head;
  };
  // Where the state of element `index` of an array [., value_heads, key_dim, value_dim] starts.
  const auto state_of = [&](int index) {
    return (static_cast<std::int64_t>(index) * p.sizes.value_heads + value_head) * kKeyDim * value_dim;
  };

  auto* memory = dynamic_shared<unsigned char>();
  const auto stage_of = [&](int index) { return Stage::at(memory + index % Stage::kStages * Stage::kBytes); };
  const auto start_loading = [&](int index) {
    const Stage stage = stage_of(index);
    const Chunk chunk = segment.chunk(index);
    const std::int64_t key = chunk.begin * key_stride + head * kKeyDim;
    const std::int64_t value = chunk.begin * value_stride + value_head * value_dim + slab_column;
    copy_tile_async<kThreads>(stage.k, p.k + key, key_stride, chunk.length, kKeyDim, thread);
    copy_tile_async<kThreads>(stage.q, p.q + key, key_stride, chunk.length, kKeyDim, thread);
    copy_tile_async<kThreads>(stage.d_o, p.d_o + value, value_stride, chunk.length, value_dim - slab_column, thread);
    copy_lower_async<kThreads>(stage.solve, p.prepared.solve, square_index(index), thread);
    copy_lower_async<kThreads>(stage.scores, p.prepared.scores, square_index(index), thread);
    copy_gates_async<kThreads>(stage.gates, p.prepared.gates, square_index(index), thread);
    commit_copies();
  };

  Accumulator<kKeyDim / 8> dstate;  // dS^T [16, key_dim]
  dstate.set_zero();
  const bool has_dfinal = p.dfinal_state != nullptr && (!kSegments || segment.is_last);
  if (active && has_dfinal) {
    load_state(dstate, p.dfinal_state + state_of(kSegments ? segment.sequence : segment.slot), value_dim, column);
  }
  if constexpr (kSegments) {
    if (active && segment.is_last) store_state(dstate, p.dsegments + state_of(segment.slot), value_dim, column);
    if (segment.is_first) return;
  }

  const int last = segment.chunks() - 1;
  if (last >= 0) start_loading(last);
  for (int index = last; index >= 0; --index) {
    const Stage stage = stage_of(index);
    wait_for_copies<0>();
    __syncthreads();
    if (Stage::kStages > 1 && index > 0) start_loading(index - 1);

    if (!kSegments && active) {
      bfloat16* stored = p.dstates + (square_index(index) * value_dim + column) * kKeyDim;
      store_to_global(dstate, stored, kKeyDim, kWarpColumns, kKeyDim);
    }
    step_back(dstate, stage, p.scale);
    if (!kSegments && active) {
      const Chunk chunk = segment.chunk(index);
      store_tile_columns<kWarpSize, kWarpColumns>(stage.d_o, column - slab_column,
                                                  p.dy + chunk.begin * value_stride + value_head * value_dim + column,
                                                  value_stride, chunk.length, lane_index());
    }
    if (Stage::kStages == 1 && index > 0) {
      __syncthreads();
      start_loading(index - 1);
    }
  }
  if constexpr (kSegments) {
    if (active) store_state(dstate, p.dsegments + state_of(segment.slot - 1), value_dim, column);
  } else {
    if (active && segment.is_first && p.dinitial_state != nullptr) {
      store_state(dstate, p.dinitial_state + state_of(segment.sequence), value_dim, column);
    }
  }
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule::backward
