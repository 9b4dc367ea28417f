#include "kernels/gated_delta_rule/cuda/chunk.h"
#include "kernels/gated_delta_rule/cuda/gradients.h"
#include "kernels/gated_delta_rule/cuda/gradients_epilogue.h"
#include "kernels/gated_delta_rule/cuda/gradients_slab.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/cuda/tile.h"

// The gradients of a chunk, given the state S it starts from, the gradient dS' of the state it ends with, and dY. Per
// value head, with Y = diag(beta) W, KK = stril(K K^T), and sums of rows and columns over value columns:
//   W = V - e^c (K S)     N = (T . G) Y     dV = beta dY     dU = -e^c beta dY     (U = K S)
//   dPg = dO N^T     dP = scale dPg . G     dA = -stril(dY N^T) . G     dKK = diag(beta) dA
//   dQ += scale e^c dO S^T + dP K
//   dK += e^{c_L - c} N dS'^T + dU S^T + dP^T Q + (dKK + dKK^T) K
//   dbeta = rowsum(dY . W) + rowsum(dA . KK)
//   dg_t = e^{c_L} <dS', S> + sum_{i >= t} a_i + sum_{j < t} e_j + sum_{i >= t > j} M_ij
// where a and e are the row sums of Q . dQ and K . dK over the terms with S and dS' above, and
// M = stril(dPg . Pg) + dKK . KK. Its diagonal, and every sum over both sides of t, cancel in exact arithmetic; they
// are left out since rounding would leave more of them than of the gradient.
namespace mudelta::kernels::cuda::gated_delta_rule {
namespace {

using namespace gradients;  // the headers of this file alone

struct GradientsParameters {
  KernelSizes sizes;
  float scale;
  const std::int32_t* cu_seqlens;
  const bfloat16* q;    // [tokens, heads, key_dim]
  const bfloat16* k;    // [tokens, heads, key_dim]
  const bfloat16* v;    // [tokens, value_heads, value_dim]
  const bfloat16* d_o;  // [tokens, value_heads, value_dim]
  Prepared prepared;
  const bfloat16* states;   // [slots, value_heads, value_dim, key_dim]
  const bfloat16* dstates;  // [slots, value_heads, value_dim, key_dim]
  bfloat16* dv;             // [tokens, value_heads, value_dim], first dY
  bfloat16* dq;             // [tokens, heads, key_dim]
  bfloat16* dk;             // [tokens, heads, key_dim]
  float* dg;                // [tokens, value_heads]
  float* dbeta;             // [tokens, value_heads]
};

// The operands of slab `slab` of a value head; `square` is the index of the chunk's matrices of that head.
template <int kKeyDim>
__device__ __forceinline__ void start_loading(const GradientsParameters& p, const Layout<kKeyDim>& shared,
                                              const Chunk& chunk, int value_head, std::int64_t square, int slab) {
  const auto stage = shared.stage(slab);
  const int value_dim = p.sizes.value_dim, columns = value_dim - slab * kSlab, thread = static_cast<int>(threadIdx.x);
  const std::int64_t value_stride = static_cast<std::int64_t>(p.sizes.value_heads) * value_dim;
  const std::int64_t state = square * kKeyDim * value_dim;
  const std::int64_t values = chunk.begin * value_stride + value_head * value_dim + slab * kSlab;
  copy_tile_async<kThreads>(stage.state, p.states + state + slab * kSlab * kKeyDim, kKeyDim, columns, kKeyDim, thread);
  copy_tile_async<kThreads>(stage.dstate, p.dstates + state + slab * kSlab * kKeyDim, kKeyDim, columns, kKeyDim,
                            thread);
  copy_tile_async<kThreads>(stage.v, p.v + values, value_stride, chunk.length, columns, thread);
  copy_tile_async<kThreads>(stage.d_o, p.d_o + values, value_stride, chunk.length, columns, thread);
  copy_tile_async<kThreads>(stage.dy, p.dv + values, value_stride, chunk.length, columns, thread);
  commit_copies();
}

// All slabs of a value head: dv, the head's part of dq and dk that holds S and dS', and `sums`.
template <int kKeyDim>
__device__ __forceinline__ void add_slabs(const GradientsParameters& p, const Layout<kKeyDim>& shared,
                                          const Chunk& chunk, int value_head, std::int64_t square,
                                          typename Layout<kKeyDim>::KeyAccumulator& dq,
                                          typename Layout<kKeyDim>::KeyAccumulator& dk, HeadSums& sums) {
  constexpr int kStages = Layout<kKeyDim>::kStages;
  const int value_dim = p.sizes.value_dim, slabs = static_cast<int>(divide_up(value_dim, kSlab));
  const int thread = static_cast<int>(threadIdx.x);
  copy_lower_async<kThreads>(shared.solve, p.prepared.solve, square, thread);
  copy_gates_async<kThreads>(shared.gates, p.prepared.gates, square, thread);
  start_loading(p, shared, chunk, value_head, square, 0);
  wait_for_copies<0>();
  __syncthreads();

  for (int slab = 0; slab < slabs; ++slab) {
    const auto stage = shared.stage(slab);
    if (slab > 0) {
      wait_for_copies<0>();
      __syncthreads();
    }
    if (kStages > 1 && slab + 1 < slabs) start_loading(p, shared, chunk, value_head, square, slab + 1);
    make_y(shared, stage, sums.dbeta);
    make_n(shared.solve, stage.v);
    const std::int64_t value_stride = static_cast<std::int64_t>(p.sizes.value_heads) * value_dim;
    store_dv(stage.dy, shared.gates, p.dv + chunk.begin * value_stride + value_head * value_dim + slab * kSlab,
             value_stride, chunk.length, value_dim - slab * kSlab);
    add_value_products(stage.v, stage.d_o, stage.dy, sums);
    add_state_products(shared, stage, p.scale, p.sizes.key_dim, dq, dk, sums);
    if (kStages == 1 && slab + 1 < slabs) {
      __syncthreads();
      start_loading(p, shared, chunk, value_head, square, slab + 1);
    }
  }
  __syncthreads();
}

// Block (slot, head). Of narrow keys a multiprocessor of sm_90 has the shared memory for two blocks; for 16 warps
// instead of 8, key_dim 64 spills a little.
template <int kKeyDim>
__global__ void __launch_bounds__(kThreads, kKeyDim <= 64 ? 2 : 1) gradients_kernel(GradientsParameters p) {
  const KernelSizes& sizes = p.sizes;
  const int slot = static_cast<int>(blockIdx.x) / sizes.heads, head = static_cast<int>(blockIdx.x) % sizes.heads;
  Chunk chunk;
  if (!find_chunk(p.cu_seqlens, sizes.sequences, slot, chunk)) return;

  using Layout = Layout<kKeyDim>;
  const Layout shared = Layout::at(dynamic_shared<bfloat16>());
  const int thread = static_cast<int>(threadIdx.x), group = sizes.value_heads / sizes.heads;
  const std::int64_t key_stride = static_cast<std::int64_t>(sizes.heads) * kKeyDim;
  const std::int64_t keys = chunk.begin * key_stride + head * kKeyDim;
  copy_tile_async<kThreads>(shared.q, p.q + keys, key_stride, chunk.length, kKeyDim, thread);
  copy_tile_async<kThreads>(shared.k, p.k + keys, key_stride, chunk.length, kKeyDim, thread);

  typename Layout::KeyAccumulator dq, dk;
  dq.set_zero();
  dk.set_zero();
  for (int value_head = head * group; value_head < (head + 1) * group; ++value_head) {
    const std::int64_t square = static_cast<std::int64_t>(slot) * sizes.value_heads + value_head;
    HeadSums sums;
    sums.set_zero();
    add_slabs(p, shared, chunk, value_head, square, dq, dk, sums);

    const Epilogue epilogue = shared.epilogue();
    make_score_gradients(shared, epilogue, p.scale, sums);
    store_sums(epilogue, sums);
    __syncthreads();
    sum_products(epilogue);
    add_score_products(shared, epilogue, dq, dk);
    __syncthreads();
    if (uniform_warp_index() == 0) {
      finish_gates(shared.gates, epilogue, chunk, sizes.value_heads, value_head, p.dg, p.dbeta);
    }
    __syncthreads();  // before the next value head's operands
  }

  const Part part = part_of_warp();
  const std::int64_t key_rows = keys + part.row * key_stride + part.column * Layout::kKeyColumns;
  store_to_global(dq, p.dq + key_rows, key_stride, chunk.length - part.row, Layout::kKeyColumns);
  store_to_global(dk, p.dk + key_rows, key_stride, chunk.length - part.row, Layout::kKeyColumns);
}

}  // namespace

void chunk_gradients(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& d_o, const Tensor& states,
                     const Tensor& dstates, const GatedDeltaRuleGradients& gradients, Stream stream) {
  const KernelSizes sizes = sizes_of(inputs);
  const GradientsParameters parameters{.sizes = sizes,
                                       .scale = inputs.scale,
                                       .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>(),
                                       .q = inputs.q.data<bfloat16>(),
                                       .k = inputs.k.data<bfloat16>(),
                                       .v = inputs.v.data<bfloat16>(),
                                       .d_o = d_o.data<bfloat16>(),
                                       .prepared = prepared_of(saved),
                                       .states = states.data<bfloat16>(),
                                       .dstates = dstates.data<bfloat16>(),
                                       .dv = gradients.dv.data<bfloat16>(),
                                       .dq = gradients.dq.data<bfloat16>(),
                                       .dk = gradients.dk.data<bfloat16>(),
                                       .dg = gradients.dg.data<float>(),
                                       .dbeta = gradients.dbeta.data<float>()};
  const dim3 grid(static_cast<unsigned>(sizes.slots() * sizes.heads));
  dispatch_key_dim(sizes.key_dim, [&]<int kKeyDim>() {
    launch(gradients_kernel<kKeyDim>, grid, kThreads, Layout<kKeyDim>::kBytes, stream, parameters);
  });
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
