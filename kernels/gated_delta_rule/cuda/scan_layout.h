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
  const bfloat16* q;            // [tokens, heads, key_dim]
  const bfloat16* k;            // as q
  const bfloat16* v;            // [tokens, value_heads, value_dim]
  const float* beta;            // [tokens, value_heads]
  const float* decay;           // [tokens, value_heads]
  const bfloat16* solve;        // [slots, value_heads, kChunk, kChunk]
  const float* initial_states;  // [segment slots, value_heads, key_dim, value_dim]; of kSegmentStates [sequences, ...];
                                // null: zero
  float* final_states;          // [sequences, value_heads, key_dim, value_dim], or null; of kOutput...
  bfloat16* o;                  // as v; of kOutput...
  bfloat16* chunk_states;       // [slots, value_heads, key_dim, value_dim]; of ...ChunkStates
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
          .beta = inputs.beta.data<float>(),
          .decay = saved.decay.data<float>(),
          .solve = saved.solve.data<bfloat16>(),
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
  using States = Tile<kKeyDim, kSlab>;

  static constexpr bool kOutput = kResult == Result::kOutput || kResult == Result::kOutputAndChunkStates;
  static constexpr bool kOnlyChunkStates = kResult == Result::kChunkStates;
  static constexpr bool kChunkStates = kOnlyChunkStates || kResult == Result::kOutputAndChunkStates;
  static constexpr bool kSegmentStates = kResult == Result::kSegmentStates;
  static constexpr int kTransitionSlabs = kSegmentStates ? (kKeyDim + kSlab - 1) / kSlab : 0;
  static constexpr int value_slabs(int value_dim) { return (value_dim + kSlab - 1) / kSlab; }

  static constexpr int kQueries = Keys::kNumel;  // offsets in a stage, in elements
  static constexpr int kValues = kQueries + (kOutput ? Keys::kNumel : 0);
  static constexpr int kSolve = kValues + Values::kNumel;
  static constexpr int kStageNumel = kSolve + Square::kNumel;
  static constexpr int kScores = kStages * kStageNumel;
  static constexpr int kStates = kScores + (kOutput ? Square::kNumel : 0);  // of a chunk, on their way to global memory
  static constexpr int kGates = kStates + (kChunkStates ? States::kNumel : 0);
  static constexpr int kGatesBytes = SharedGates::kFloats * static_cast<int>(sizeof(float));
  static constexpr int kBytes = kGates * static_cast<int>(sizeof(bfloat16)) + 2 * kGatesBytes;
  static_assert(kBytes <= kMostSharedBytes);

  // Whether all of S^T rounded, besides S^T and the products, would not fit the registers.
  static constexpr bool kCutsProducts = kOutput && kKeyDim > 192;

  bfloat16* memory;
  __device__ bfloat16* stage(int chunk) const { return memory + chunk % kStages * kStageNumel; }
  __device__ Keys keys(int chunk) const { return {stage(chunk)}; }
  __device__ Keys queries(int chunk) const { return {stage(chunk) + kQueries}; }
  __device__ Values values(int chunk) const { return {stage(chunk) + kValues}; }
  __device__ Square solve(int chunk) const { return {stage(chunk) + kSolve}; }
  __device__ Square scores() const { return {memory + kScores}; }
  __device__ States states() const { return {memory + kStates}; }
  __device__ SharedGates gates(int chunk) const {
    return {reinterpret_cast<float*>(memory + kGates) + chunk % 2 * SharedGates::kFloats};
  }
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

// Loads the chunks of a segment: tiles by asynchronous copies, gates through the registers of the first kChunk
// threads.
template <class Layout>
class ChunkLoader {
 public:
  __device__ ChunkLoader(const ScanParameters& p, const Layout& layout, const Place& place)
      : p_(p), layout_(layout), place_(place) {}

  __device__ __forceinline__ void start(int chunk) {
    constexpr int kKeyDim = Layout::kKeyDim, kThreads = Layout::kThreads;
    const KernelSizes& sizes = p_.sizes;
    const int thread = static_cast<int>(threadIdx.x);
    const Chunk rows = place_.segment.chunk(chunk);
    const std::int64_t key_stride = static_cast<std::int64_t>(sizes.heads) * kKeyDim;
    const int head = place_.value_head / (sizes.value_heads / sizes.heads);
    const std::int64_t keys = rows.begin * key_stride + static_cast<std::int64_t>(head) * kKeyDim;
    copy_tile_async<kThreads>(layout_.keys(chunk), p_.k + keys, key_stride, rows.length, kKeyDim, thread);
    if constexpr (Layout::kOutput) {
      copy_tile_async<kThreads>(layout_.queries(chunk), p_.q + keys, key_stride, rows.length, kKeyDim, thread);
    }
    const std::int64_t gate = static_cast<std::int64_t>(rows.begin) * sizes.value_heads + place_.value_head;
    const int first_value = place_.is_transition ? sizes.value_dim : place_.slab_column;
    copy_tile_async<kThreads>(layout_.values(chunk), p_.v + gate * sizes.value_dim + first_value,
                              static_cast<std::int64_t>(sizes.value_heads) * sizes.value_dim, rows.length,
                              sizes.value_dim - first_value, thread);
    const std::int64_t slot = place_.slot(chunk, sizes);
    copy_tile_async<kThreads>(layout_.solve(chunk), p_.solve + slot * kChunk * kChunk, kChunk, kChunk, kChunk, thread);
    commit_copies();
    if (thread < kChunk) {
      gates_ = load_row_gates(p_.decay, p_.beta, sizes.value_heads, place_.value_head, rows, thread);
    }
  }

  // The thread's part of the chunk that was started last is in shared memory; a barrier makes it everyone's.
  __device__ __forceinline__ void finish(int chunk) const {
    wait_for_copies<0>();
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < kChunk) layout_.gates(chunk).set(thread, gates_);
  }

 private:
  const ScanParameters& p_;
  const Layout& layout_;
  const Place& place_;
  RowGates gates_{};
};

}  // namespace mudelta::kernels::cuda::gated_delta_rule::forward
