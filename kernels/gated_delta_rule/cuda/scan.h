#pragma once

#include "kernels/gated_delta_rule/cuda/memory.h"
#include "kernels/gated_delta_rule/cuda/scan_layout.h"

// The scan over the chunks of a segment (launches.h has the formulas). A block has a slab of
// columns of the state of one value head, a warp 16 of them. The warp keeps S^T [16, key_dim] in registers, in float32,
// and computes (K S)^T, Y^T = ((V - e^c K S) beta)^T, N^T = Y^T (T . G)^T and S'^T: accumulators become the left
// operands of the next product where they are, and warps share nothing but the tiles that they read. Only O has rows of
// tokens, since the registers of S^T and N^T are right operands too.
namespace mudelta::kernels::cuda::gated_delta_rule::forward {

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
__device__ __forceinline__ void start_state(Accumulator<kTiles>& state, const ScanParameters& p, const Place& place,
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
__device__ __forceinline__ void end_state(const Accumulator<kTiles>& state, const ScanParameters& p, const Place& place,
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
                                                  const Values& values, int column, const SharedGates& gates) {
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
                                                 const std::uint32_t (&y)[kTokenBlocks][4], const LowerSquare& solve,
                                                 const SharedGates& gates) {
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
                                              const std::uint32_t (&new_values)[kTokenBlocks][4],
                                              const LowerSquare& scores, const SharedGates& gates, float scale) {
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
                                             const std::uint32_t (&decayed)[kTokenBlocks][4],
                                             const SharedGates& gates) {
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

// Block `block` (segment slot, value head, slab).
template <int kKeyDim, int kWarps, Result kResult>
__device__ __forceinline__ void scan_segment(const ScanParameters& p, int block) {
  using Layout = ScanLayout<kKeyDim, kWarps, kResult>;
  const Layout layout{dynamic_shared<bfloat16>()};
  const int value_dim = p.sizes.value_dim;
  Place place;
  if (!find_place<Layout>(p, block, place)) return;

  const int warp = uniform_warp_index(), warp_column = warp * kWarpColumns, column = place.slab_column + warp_column;
  const bool has_columns = column < place.columns;  // the others of a last slab load and build tiles only
  Accumulator<kKeyDim / 8> state;
  state.set_zero();
  if (has_columns) start_state<Layout>(state, p, place, column);
  if (Layout::kSegmentStates && place.segment.is_last) return;

  const int chunks = place.segment.chunks();
  const int updates = Layout::kOnlyChunkStates ? chunks - 1 : chunks;  // the state after the last chunk is no chunk's
  if (updates > 0) start_loading(p, layout, place, 0);
  for (int chunk = 0; chunk < chunks; ++chunk) {
    if constexpr (Layout::kChunkStates) {
      if (has_columns) {
        bfloat16* stored = p.chunk_states + (place.slot(chunk, p.sizes) * value_dim + column) * kKeyDim;
        store_to_global(state, stored, kKeyDim, kWarpColumns, kKeyDim);
      }
      if (chunk == updates) break;  // of kOnlyChunkStates
    }
    wait_for_copies<0>();
    __syncthreads();  // the chunk is loaded, and nobody works on the one before any more
    if (Layout::kStages > 1 && chunk + 1 < updates) start_loading(p, layout, place, chunk + 1);

    if (has_columns) {
      const SharedGates gates = layout.gates(chunk);
      const typename Layout::Values values = layout.values(chunk);
      Accumulator<8> recalled;
      Accumulator<2> output[kTokenBlocks];
      recalled.set_zero();
#pragma unroll
      for (auto& tokens : output) tokens.set_zero();
      read_state(layout, chunk, p.sizes.key_dim, state, recalled, output);

      std::uint32_t y[kTokenBlocks][4], new_values[kTokenBlocks][4], decayed[kTokenBlocks][4];
      subtract_recalled(y, recalled, values, warp_column, gates);
      solve_new_values(new_values, decayed, y, layout.solve(chunk), gates);
      if constexpr (Layout::kOutput) {
        finish_output(output, new_values, layout.scores(chunk), gates, p.scale);
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
      start_loading(p, layout, place, chunk + 1);
    }
  }
  if (has_columns) end_state<Layout>(state, p, place, column);
}

// Of narrow keys a multiprocessor of sm_90 has the shared memory for three blocks of 4 warps: they get the registers.
template <int kKeyDim, int kWarps, Result kResult>
__global__ void __launch_bounds__(kWarps* kWarpSize, kWarps == 4 && kKeyDim <= 64 ? 3 : 1)
    scan_kernel(const ScanParameters p) {
  scan_segment<kKeyDim, kWarps, kResult>(p, static_cast<int>(blockIdx.x));
}

// Launches the scan for `kResult`. Each is compiled in one file alone: its kernels take the compiler long.
template <Result kResult>
void run(const ScanParameters& p, Stream stream, Slabs slabs = Slabs::kChosen) {
  const std::int64_t states = static_cast<std::int64_t>(p.sizes.segment_slots(p.segment_rows)) * p.sizes.value_heads;
  dispatch_key_dim(p.sizes.key_dim, [&]<int kKeyDim>() {
    const auto run_with = [&]<int kWarps>() {
      using Layout = ScanLayout<kKeyDim, kWarps, kResult>;
      const dim3 grid(
          static_cast<unsigned>(states * (Layout::value_slabs(p.sizes.value_dim) + Layout::kTransitionSlabs)));
      launch(scan_kernel<kKeyDim, kWarps, kResult>, grid, Layout::kThreads, Layout::kBytes, stream, p);
    };
    if constexpr ((kKeyDim == 64 || kKeyDim == 128) && kResult != Result::kSegmentStates) {
      if (are_wide(slabs, states, p.sizes.value_dim, this_gpu().multiprocessors)) {
        return run_with.template operator()<8>();
      }
    }
    run_with.template operator()<4>();
  });
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule::forward
