#include "kernels/cuda/gated_delta_rule.h"
#include "kernels/cuda/gated_delta_rule_chunk.h"
#include "kernels/cuda/tile.h"

// The scan over the chunks of a segment (kernels/cuda/gated_delta_rule.h has the formulas). A block has a slab of
// columns of the state of one value head, a warp 16 of them. The warp keeps S^T [16, key_dim] in registers, in float32,
// and computes (K S)^T, Y^T = ((V - e^c K S) beta)^T, N^T = Y^T (T . G)^T and S'^T: accumulators become the left
// operands of the next product where they are, and warps share nothing but the tiles that they read. Only O has rows of
// tokens, since the registers of S^T and N^T are right operands too.
namespace mudelta::kernels::cuda::gated_delta_rule {
namespace {

constexpr int kWarpColumns = 16;
constexpr int kTokenBlocks = kChunk / 16;

// kSegmentStates: the states and transitions of segment_states. Those are scans with the key_dim columns of the
// identity for a state and v = 0; their slabs follow those of the value columns.
enum class Result { kOutput, kChunkStates, kSegmentStates };

struct Parameters {
  Sizes sizes;
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
  float* final_states;          // [sequences, value_heads, key_dim, value_dim], or null; of kOutput
  bfloat16* o;                  // as v; of kOutput
  bfloat16* chunk_states;       // [slots, value_heads, key_dim, value_dim]; of kChunkStates
  float* segment_states;        // [segment slots, value_heads, key_dim, value_dim]; of kSegmentStates
  float* transitions;           // [segment slots, value_heads, key_dim, key_dim]; of kSegmentStates
};

template <int kKeyDim_, int kWarps_, Result kResult>
struct ScanLayout {
  static constexpr int kKeyDim = kKeyDim_, kWarps = kWarps_;
  static constexpr int kThreads = kWarps * kWarpSize, kSlab = kWarps * kWarpColumns;
  // Two, so that a chunk is loaded while the one before is worked on, where sm_80 has the room (163 KiB).
  static constexpr int kStages = kKeyDim <= 192 || kResult == Result::kSegmentStates ? 2 : 1;

  using Keys = Tile<kChunk, kKeyDim>;
  using Values = Tile<kChunk, kSlab>;
  using States = Tile<kKeyDim, kSlab>;

  static constexpr bool kOutput = kResult == Result::kOutput, kChunkStates = kResult == Result::kChunkStates;
  static constexpr bool kSegmentStates = kResult == Result::kSegmentStates;
  static constexpr int kTransitionSlabs = kSegmentStates ? (kKeyDim + kSlab - 1) / kSlab : 0;
  static constexpr int value_slabs(int value_dim) { return (value_dim + kSlab - 1) / kSlab; }

  static constexpr int kQueries = Keys::kNumel;  // offsets in a stage, in elements
  static constexpr int kValues = kQueries + (kOutput ? Keys::kNumel : 0);
  static constexpr int kSolve = kValues + Values::kNumel;
  static constexpr int kStageNumel = kSolve + Square::kNumel;
  static constexpr int kScores = kStages * kStageNumel;  // or the chunk's state on its way to global memory
  static constexpr int kGates = kScores + (kOutput ? Square::kNumel : kChunkStates ? States::kNumel : 0);
  static constexpr int kGatesBytes = Gates::kFloats * static_cast<int>(sizeof(float));
  static constexpr int kBytes = kGates * static_cast<int>(sizeof(bfloat16)) + 2 * kGatesBytes;
  static_assert(kBytes <= 163 * 1024);

  // Whether all of S^T rounded, besides S^T and the products, would not fit the registers.
  static constexpr bool kCutsProducts = kOutput && kKeyDim > 192;

  bfloat16* memory;
  __device__ bfloat16* stage(int chunk) const { return memory + chunk % kStages * kStageNumel; }
  __device__ Keys keys(int chunk) const { return {stage(chunk)}; }
  __device__ Keys queries(int chunk) const { return {stage(chunk) + kQueries}; }
  __device__ Values values(int chunk) const { return {stage(chunk) + kValues}; }
  __device__ Square solve(int chunk) const { return {stage(chunk) + kSolve}; }
  __device__ Square scores() const { return {memory + kScores}; }
  __device__ States states() const { return {memory + kScores}; }
  __device__ Gates gates(int chunk) const {
    return {reinterpret_cast<float*>(memory + kGates) + chunk % 2 * Gates::kFloats};
  }
};

// What a block works on: a slab of a state, or of a transition.
struct Place {
  Segment segment;
  int value_head;
  bool is_transition;
  int columns, slab_column;  // of the whole matrix; the slab's first

  // Of its chunk in arrays [slots, value_heads, ...].
  __device__ std::int64_t slot(int index, const Sizes& sizes) const {
    return static_cast<std::int64_t>(segment.first_slot + index) * sizes.value_heads + value_head;
  }
  // The matrix of element `index` in an array [., value_heads, key_dim, columns].
  __device__ std::int64_t matrix(int index, const Sizes& sizes) const {
    return (static_cast<std::int64_t>(index) * sizes.value_heads + value_head) * sizes.key_dim * columns;
  }
};

// False if there is nothing to do.
template <class Layout>
__device__ __forceinline__ bool find_place(const Parameters& p, Place& place) {
  const int value_slabs = Layout::value_slabs(p.sizes.value_dim), slabs = value_slabs + Layout::kTransitionSlabs;
  const int block = static_cast<int>(blockIdx.x), slab = block % slabs;
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
  __device__ ChunkLoader(const Parameters& p, const Layout& layout, const Place& place)
      : p_(p), layout_(layout), place_(place) {}

  __device__ __forceinline__ void start(int chunk) {
    constexpr int kKeyDim = Layout::kKeyDim, kThreads = Layout::kThreads;
    const Sizes& sizes = p_.sizes;
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
  const Parameters& p_;
  const Layout& layout_;
  const Place& place_;
  RowGates gates_{};
};

// The identity's columns from `column` on, transposed.
template <int kTiles>
__device__ __forceinline__ void set_identity(Accumulator<kTiles>& state, int column) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = 8 * t + accumulator_column() + i % 2;
      state.tile[t][i] = key == column + accumulator_row() + i / 2 * 8 ? 1.0f : 0.0f;
    }
  }
}

// From zero to what the warp's columns, from `column` on, are at the start of the place's segment. The first one's
// state goes to segment_states as well.
template <class Layout, int kTiles>
__device__ __forceinline__ void start_state(Accumulator<kTiles>& state, const Parameters& p, const Place& place,
                                            int column) {
  const Segment& segment = place.segment;
  if constexpr (Layout::kSegmentStates) {
    if (place.is_transition) return set_identity(state, column);
    if (!segment.is_first) return;
    if (p.initial_states != nullptr) {
      load_state(state, p.initial_states + place.matrix(segment.sequence, p.sizes), place.columns, column);
    }
    store_state(state, p.segment_states + place.matrix(segment.slot, p.sizes), place.columns, column);
  } else {
    if (p.initial_states == nullptr) return;
    load_state(state, p.initial_states + place.matrix(segment.slot, p.sizes), place.columns, column);
  }
}

// The same for the end.
template <class Layout, int kTiles>
__device__ __forceinline__ void end_state(const Accumulator<kTiles>& state, const Parameters& p, const Place& place,
                                          int column) {
  const Segment& segment = place.segment;
  if constexpr (Layout::kSegmentStates) {
    float* states = place.is_transition ? p.transitions + place.matrix(segment.slot, p.sizes)
                                        : p.segment_states + place.matrix(segment.slot + 1, p.sizes);
    store_state(state, states, place.columns, column);
  } else {
    if (p.final_states == nullptr || !segment.is_last) return;
    store_state(state, p.final_states + place.matrix(segment.sequence, p.sizes), place.columns, column);
  }
}

// Adds (K S)^T, and Q S where it is wanted, of 16 columns of S. `key_dim` comes from a parameter of the kernel: where
// the compiler does not know that the branch is never taken, it rounds what follows of S no earlier.
template <class Layout, int kTiles>
__device__ __forceinline__ void read_state(const Layout& layout, int chunk, int key_dim,
                                           const Accumulator<kTiles>& state, Accumulator<8>& recalled,
                                           Accumulator<2> (&output)[kTokenBlocks]) {
  const typename Layout::Keys keys = layout.keys(chunk), queries = layout.queries(chunk);
#pragma unroll
  for (int key = 0; key < Layout::kKeyDim; key += 16) {
    if (Layout::kCutsProducts && key % 32 == 0 && key >= key_dim) break;
    std::uint32_t s[4];
    pack_a(s, state, key / 8);
#pragma unroll
    for (int n = 0; n < kTokenBlocks; ++n) {
      multiply(recalled, 2 * n, s, load_b(keys, 16 * n, key));
      if constexpr (Layout::kOutput) {
        std::uint32_t q[4];
        load_a(q, queries, 16 * n, key);
        multiply(output[n], 0, q, transposed_b(s));
      }
    }
  }
}

// Y^T = ((V - e^c K S) beta)^T as left operands; `column` is the warp's first in `values`.
template <class Values>
__device__ __forceinline__ void subtract_recalled(std::uint32_t (&y)[kTokenBlocks][4], const Accumulator<8>& recalled,
                                                  const Values& values, int column, const Gates& gates) {
#pragma unroll
  for (int n = 0; n < kTokenBlocks; ++n) {
    std::uint32_t v[4];
    load_a_transposed(v, values, 16 * n, column);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = 16 * n + i / 2 * 8 + accumulator_column();
      const float* u = recalled.tile[2 * n + i / 2] + i % 2 * 2;
      y[n][i] = pack_bfloat16((low_float(v[i]) - gates.from_start(token) * u[0]) * gates.beta(token),
                              (high_float(v[i]) - gates.from_start(token + 1) * u[1]) * gates.beta(token + 1));
    }
  }
}

// N^T = Y^T (T . G)^T, and N^T e^{c_L - c}, as left operands. From the last tokens on, so that each takes Y's
// registers.
__device__ __forceinline__ void solve_new_values(std::uint32_t (&new_values)[kTokenBlocks][4],
                                                 std::uint32_t (&decayed)[kTokenBlocks][4],
                                                 const std::uint32_t (&y)[kTokenBlocks][4], const Square& solve,
                                                 const Gates& gates) {
#pragma unroll
  for (int n = kTokenBlocks - 1; n >= 0; --n) {
    Accumulator<2> sum;
    sum.set_zero();
#pragma unroll
    for (int k = 0; k <= n; ++k) multiply(sum, 0, y[k], load_b(solve, 16 * n, 16 * k));
    pack_a(new_values[n], sum, 0);
#pragma unroll
    for (int t = 0; t < 2; ++t) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum.tile[t][i] *= gates.to_end(16 * n + 8 * t + accumulator_column() + i % 2);
    }
    pack_a(decayed[n], sum, 0);
  }
}

// From Q S: O = scale e^c (Q S) + scores N.
__device__ __forceinline__ void finish_output(Accumulator<2> (&output)[kTokenBlocks],
                                              const std::uint32_t (&new_values)[kTokenBlocks][4], const Square& scores,
                                              const Gates& gates, float scale) {
#pragma unroll
  for (int n = kTokenBlocks - 1; n >= 0; --n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float factor = scale * gates.from_start(16 * n + accumulator_row() + i / 2 * 8);
      output[n].tile[0][i] *= factor;
      output[n].tile[1][i] *= factor;
    }
#pragma unroll
    for (int k = 0; k <= n; ++k) {
      std::uint32_t score[4];
      load_a(score, scores, 16 * n, 16 * k);
      multiply(output[n], 0, score, transposed_b(new_values[k]));
    }
  }
}

// S' = e^{c_L} S + K^T (e^{c_L - c} N), transposed.
template <int kTiles, class Keys>
__device__ __forceinline__ void update_state(Accumulator<kTiles>& state, const Keys& keys,
                                             const std::uint32_t (&decayed)[kTokenBlocks][4], const Gates& gates) {
  const float kept = gates.whole();
#pragma unroll
  for (auto& tile : state.tile) {
#pragma unroll
    for (float& element : tile) element *= kept;
  }
#pragma unroll
  for (int k = 0; k < kTokenBlocks; ++k) {
#pragma unroll
    for (int key = 0; key < Keys::kColumns; key += 16) {
      multiply(state, key / 8, decayed[k], load_b_transposed(keys, 16 * k, key));
    }
  }
}

// Block (segment slot, value head, slab).
template <int kKeyDim, int kWarps, Result kResult>
__global__ void __launch_bounds__(kWarps* kWarpSize, 1) scan_kernel(const Parameters p) {
  using Layout = ScanLayout<kKeyDim, kWarps, kResult>;
  const Layout layout{dynamic_shared<bfloat16>()};
  const int value_dim = p.sizes.value_dim;
  Place place;
  if (!find_place<Layout>(p, place)) return;

  const int warp_column = warp_index() * kWarpColumns, column = place.slab_column + warp_column;
  const bool has_columns = column < place.columns;  // the others of a last slab load and build tiles only
  Accumulator<kKeyDim / 8> state;
  state.set_zero();
  if (has_columns) start_state<Layout>(state, p, place, column);
  if (Layout::kSegmentStates && place.segment.is_last) return;

  const int chunks = place.segment.chunks();
  const int updates = Layout::kChunkStates ? chunks - 1 : chunks;  // the state after the last chunk is no chunk's
  ChunkLoader<Layout> loader(p, layout, place);
  if (updates > 0) loader.start(0);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    if constexpr (Layout::kChunkStates) {
      if (has_columns) {
        store_transposed_to_tile(state, layout.states(), 0, warp_column);
        __syncwarp();
        const std::int64_t stored = place.slot(chunk, p.sizes) * kKeyDim * value_dim + column;
        store_tile_columns<kWarpSize, kWarpColumns>(layout.states(), warp_column, p.chunk_states + stored, value_dim,
                                                    kKeyDim, lane_index());
      }
      if (chunk == updates) break;
    }
    loader.finish(chunk);
    __syncthreads();  // the chunk is loaded, and nobody works on the one before any more
    if (Layout::kStages > 1 && chunk + 1 < updates) loader.start(chunk + 1);

    const Gates gates = layout.gates(chunk);
    const Square solve = layout.solve(chunk);
    apply_gates<Layout::kThreads>(solve, gates, static_cast<int>(threadIdx.x));
    if constexpr (Layout::kOutput) {
      gated_products<kWarps>(layout.queries(chunk), layout.keys(chunk), p.scale, gates, layout.scores(), warp_index());
    }
    Accumulator<8> recalled;
    Accumulator<2> output[kTokenBlocks];
    recalled.set_zero();
#pragma unroll
    for (auto& block : output) block.set_zero();
    if (has_columns) read_state(layout, chunk, p.sizes.key_dim, state, recalled, output);
    __syncthreads();  // T . G and the products of Q and K are built

    if (has_columns) {
      const typename Layout::Values values = layout.values(chunk);
      std::uint32_t y[kTokenBlocks][4], new_values[kTokenBlocks][4], decayed[kTokenBlocks][4];
      subtract_recalled(y, recalled, values, warp_column, gates);
      solve_new_values(new_values, decayed, y, solve, gates);
      if constexpr (Layout::kOutput) {
        finish_output(output, new_values, layout.scores(), gates, p.scale);
        __syncwarp();  // the warp has read its columns of V: O takes their place on its way to global memory
#pragma unroll
        for (int n = 0; n < kTokenBlocks; ++n) store_to_tile(output[n], values, 16 * n, warp_column);
        __syncwarp();
        const Chunk rows = place.segment.chunk(chunk);
        const std::int64_t row = static_cast<std::int64_t>(rows.begin) * p.sizes.value_heads + place.value_head;
        store_tile_columns<kWarpSize, kWarpColumns>(values, warp_column, p.o + row * value_dim + column,
                                                    static_cast<std::int64_t>(p.sizes.value_heads) * value_dim,
                                                    rows.length, lane_index());
      }
      update_state(state, layout.keys(chunk), decayed, gates);
    }
    if (Layout::kStages == 1 && chunk + 1 < updates) {
      __syncthreads();
      loader.start(chunk + 1);
    }
  }
  if (has_columns) end_state<Layout>(state, p, place, column);
}

template <Result kResult>
void run(const Parameters& p, Stream stream) {
  // A block of 8 warps shares more of the tiles that it loads and builds, but needs enough value heads to leave few
  // multiprocessors (108 on an A100, 132 on an H100) without one.
  constexpr int kEnoughBlocks = 80, kWideSlab = 8 * kWarpColumns;
  const std::int64_t states = static_cast<std::int64_t>(p.sizes.segment_slots(p.segment_rows)) * p.sizes.value_heads;
  const bool wide = states * divide_up(p.sizes.value_dim, kWideSlab) >= kEnoughBlocks && p.sizes.value_dim > 64;
  dispatch_key_dim(p.sizes.key_dim, [&]<int kKeyDim>() {
    const auto run_with = [&]<int kWarps>() {
      using Layout = ScanLayout<kKeyDim, kWarps, kResult>;
      const dim3 grid(
          static_cast<unsigned>(states * (Layout::value_slabs(p.sizes.value_dim) + Layout::kTransitionSlabs)));
      launch(scan_kernel<kKeyDim, kWarps, kResult>, grid, Layout::kThreads, Layout::kBytes, stream, p);
    };
    if constexpr ((kKeyDim == 64 || kKeyDim == 128) && kResult != Result::kSegmentStates) {
      if (wide) return run_with.template operator()<8>();
    }
    run_with.template operator()<4>();
  });
}

Parameters parameters_of(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved) {
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

}  // namespace

void segment_states(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, Stream stream) {
  Parameters parameters = parameters_of(inputs, saved);
  parameters.initial_states = data_or_null(inputs.initial_state);
  parameters.segment_states = saved.segment_states.data<float>();
  parameters.transitions = saved.transitions.data<float>();
  run<Result::kSegmentStates>(parameters, stream);
}

void scan(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& o,
          const Tensor& final_state, Stream stream) {
  Parameters parameters = parameters_of(inputs, saved);
  parameters.o = o.data<bfloat16>();
  parameters.final_states = data_or_null(final_state);
  run<Result::kOutput>(parameters, stream);
}

void chunk_states(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& states,
                  Stream stream) {
  Parameters parameters = parameters_of(inputs, saved);
  parameters.chunk_states = states.data<bfloat16>();
  run<Result::kChunkStates>(parameters, stream);
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
