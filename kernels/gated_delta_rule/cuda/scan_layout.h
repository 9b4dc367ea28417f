#pragma once

#include "kernels/gated_delta_rule/cuda/chunk.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/cuda/tile.h"

// What a block of the scan works on, and what it has in shared memory: the frame of scan.h.
namespace mudelta::kernels::cuda::gated_delta_rule::forward {

// kSegmentStates: the states and transitions of segment_states. Those are scans with the key_dim columns of the
// identity for a state and v = 0; their slabs follow those of the value columns.
enum class Result { kOutput, kOutputAndChunkStates, kChunkStates, kSegmentStates };

struct ScanParameters {
  KernelSizes sizes;
  float scale;
  int segment_rows;
  const std::int32_t* cu_seqlens;
  const bfloat16* q;  // [tokens, heads, key_dim]
  const bfloat16* k;  // as q
  const bfloat16* v;  // [tokens, value_heads, value_dim]
  Prepared prepared;
  const float* initial_states;  // [segment slots, value_heads, key_dim, value_dim]; of kSegmentStates [sequences, ...];
                                // null: zero
  float* final_states;          // [sequences, value_heads, key_dim, value_dim], or null; of kOutput...
  bfloat16* o;                  // as v; of kOutput...
  bfloat16* chunk_states;       // [slots, value_heads, value_dim, key_dim]; of ...ChunkStates
  float* segment_states;        // [segment slots, value_heads, key_dim, value_dim]; of kSegmentStates
  float* transitions;           // [segment slots, value_heads, key_dim, key_dim]; of kSegmentStates
};

inline ScanParameters parameters_of(const GatedDeltaRuleInputs& inputs, const Saved& saved) {
  return {.sizes = sizes_of(inputs),
          .scale = inputs.scale,
          .segment_rows = segment_rows(saved),
          .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>(),
          .q = inputs.q.data<bfloat16>(),
          .k = inputs.k.data<bfloat16>(),
          .v = inputs.v.data<bfloat16>(),
          .prepared = prepared_of(saved),
          .initial_states = data_or_null(saved.segment_chunks > 0 ? saved.segment_states : inputs.initial_state),
          .final_states = nullptr,
          .o = nullptr,
          .chunk_states = nullptr,
          .segment_states = nullptr,
          .transitions = nullptr};
}

inline ScanParameters chunk_states_parameters(const GatedDeltaRuleInputs& inputs, const Saved& saved,
                                              const Tensor& states) {
  ScanParameters parameters = parameters_of(inputs, saved);
  parameters.chunk_states = states.data<bfloat16>();
  return parameters;
}

template <int kKeyDim_, int kWarps_, Result kResult>
struct ScanLayout {
  static constexpr int kKeyDim = kKeyDim_, kWarps = kWarps_;
  static constexpr int kThreads = kWarps * kWarpSize, kSlab = kWarps * kWarpColumns;
  // Two, so that a chunk is loaded while the one before is worked on, where sm_80 has the room (163 KiB).
  static constexpr int kStages = kKeyDim <= 192 || kResult == Result::kSegmentStates ? 2 : 1;

  using Keys = Tile<kChunk, kKeyDim>;
  using Values = Tile<kChunk, kSlab>;

  static constexpr bool kOutput = kResult == Result::kOutput || kResult == Result::kOutputAndChunkStates;
  static constexpr bool kOnlyChunkStates = kResult == Result::kChunkStates;
  static constexpr bool kChunkStates = kOnlyChunkStates || kResult == Result::kOutputAndChunkStates;
  static constexpr bool kSegmentStates = kResult == Result::kSegmentStates;
  static constexpr int kTransitionSlabs = kSegmentStates ? (kKeyDim + kSlab - 1) / kSlab : 0;
  static constexpr int value_slabs(int value_dim) { return (value_dim + kSlab - 1) / kSlab; }

  static constexpr int kQueries = Keys::kNumel;  // offsets in a stage, in elements
  static constexpr int kValues = kQueries + (kOutput ? Keys::kNumel : 0);
  static constexpr int kSolve = kValues + Values::kNumel;
  static constexpr int kScores = kSolve + LowerSquare::kNumel;
  static constexpr int kGates = kScores + (kOutput ? LowerSquare::kNumel : 0);
  static constexpr int kStageNumel = kGates + SharedGates::kBytes / static_cast<int>(sizeof(bfloat16));
  static constexpr int kBytes = kStages * kStageNumel * static_cast<int>(sizeof(bfloat16));
  static_assert(kBytes <= kMostSharedBytes);

  // Whether all of S^T rounded, besides S^T and the products, would not fit the registers.
  static constexpr bool kCutsProducts = kOutput && kKeyDim > 192;

  bfloat16* memory;
  __device__ bfloat16* stage(int chunk) const { return memory + chunk % kStages * kStageNumel; }
  __device__ Keys keys(int chunk) const { return {stage(chunk)}; }
  __device__ Keys queries(int chunk) const { return {stage(chunk) + kQueries}; }
  __device__ Values values(int chunk) const { return {stage(chunk) + kValues}; }
  __device__ LowerSquare solve(int chunk) const { return {stage(chunk) + kSolve}; }
  __device__ LowerSquare scores(int chunk) const { return {stage(chunk) + kScores}; }
  __device__ SharedGates gates(int chunk) const { return {reinterpret_cast<float*>(stage(chunk) + kGates)}; }
};

// What a block works on: a slab of a state, or of a transition.
struct Place {
  Segment segment;
  int value_head;
  bool is_transition;
  int columns, slab_column;  // of the whole matrix; the slab's first

  // Of its chunk in arrays [slots, value_heads, ...].
  __device__ std::int64_t slot(int index, const KernelSizes& sizes) const {
    return static_cast<std::int64_t>(segment.first_slot + index) * sizes.value_heads + value_head;
  }
  // The matrix of element `index` in an array [., value_heads, key_dim, columns].
  __device__ std::int64_t matrix(int index, const KernelSizes& sizes) const {
    return (static_cast<std::int64_t>(index) * sizes.value_heads + value_head) * sizes.key_dim * columns;
  }
};

// That of block `block` (segment slot, value head, slab); false if it has nothing to do.
template <class Layout>
__device__ __forceinline__ bool find_place(const ScanParameters& p, int block, Place& place) {
  const int value_slabs = Layout::value_slabs(p.sizes.value_dim), slabs = value_slabs + Layout::kTransitionSlabs;
  const int slab = block % slabs;
  place.value_head = block / slabs % p.sizes.value_heads;
  place.is_transition = Layout::kSegmentStates && slab >= value_slabs;
  place.columns = place.is_transition ? Layout::kKeyDim : p.sizes.value_dim;
  place.slab_column = (place.is_transition ? slab - value_slabs : slab) * Layout::kSlab;
  Segment& segment = place.segment;
  const int slot = block / slabs / p.sizes.value_heads;
  if (!find_segment(p.cu_seqlens, p.sizes.sequences, p.segment_rows, slot, segment)) return false;
  return !place.is_transition || (!segment.is_first && !segment.is_last);
}

// Starts loading a chunk of the place's segment.
template <class Layout>
__device__ __forceinline__ void start_loading(const ScanParameters& p, const Layout& layout, const Place& place,
                                              int chunk) {
  constexpr int kKeyDim = Layout::kKeyDim, kThreads = Layout::kThreads;
  const KernelSizes& sizes = p.sizes;
  const int thread = static_cast<int>(threadIdx.x);
  const Chunk rows = place.segment.chunk(chunk);
  const std::int64_t key_stride = static_cast<std::int64_t>(sizes.heads) * kKeyDim;
  const int head = place.value_head / (sizes.value_heads / sizes.heads);
  const std::int64_t keys = rows.begin * key_stride + static_cast<std::int64_t>(head) * kKeyDim;
  copy_tile_async<kThreads>(layout.keys(chunk), p.k + keys, key_stride, rows.length, kKeyDim, thread);
  if constexpr (Layout::kOutput) {
    copy_tile_async<kThreads>(layout.queries(chunk), p.q + keys, key_stride, rows.length, kKeyDim, thread);
  }
  const std::int64_t value_row = static_cast<std::int64_t>(rows.begin) * sizes.value_heads + place.value_head;
  const int first_value = place.is_transition ? sizes.value_dim : place.slab_column;
  copy_tile_async<kThreads>(layout.values(chunk), p.v + value_row * sizes.value_dim + first_value,
                            static_cast<std::int64_t>(sizes.value_heads) * sizes.value_dim, rows.length,
                            sizes.value_dim - first_value, thread);
  const std::int64_t slot = place.slot(chunk, sizes);
  copy_lower_async<kThreads>(layout.solve(chunk), p.prepared.solve, slot, thread);
  if constexpr (Layout::kOutput) copy_lower_async<kThreads>(layout.scores(chunk), p.prepared.scores, slot, thread);
  copy_gates_async<kThreads>(layout.gates(chunk), p.prepared.gates, slot, thread);
  commit_copies();
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule::forward
