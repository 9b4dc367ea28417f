#pragma once

#include "kernels/gated_delta_rule/cuda/gradients.h"

// What gradients.cu computes of one slab of value columns: N, dV, and the slab's part of dq, dk and of
// the sums of the head.
namespace mudelta::kernels::cuda::gated_delta_rule::gradients {

// W of the warp's part from V and the state; Y takes the place of V.
template <class Layout>
__device__ __forceinline__ void make_y(const Layout& shared, const typename Layout::Stage& stage, float (&dbeta)[2]) {
  const Part part = part_of_warp();
  const int column = part.column * kValueColumns;
  Accumulator<kValueColumns / 8> u;
  u.set_zero();
  multiply_abt(u, shared.k, part.row, stage.state, column);
  const int row = part.row + accumulator_row();
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float from_start = shared.gates.from_start(row + 8 * r), beta = shared.gates.beta(row + 8 * r);
#pragma unroll
    for (int t = 0; t < kValueColumns / 8; ++t) {
      auto* const y = accumulator_pair(stage.v, part.row + 8 * r, column + 8 * t);
      const auto* const dy_pair = accumulator_pair(stage.dy, part.row + 8 * r, column + 8 * t);
      const auto v = *reinterpret_cast<const std::uint32_t*>(y), dy = *reinterpret_cast<const std::uint32_t*>(dy_pair);
      const float w0 = low_float(v) - from_start * u.tile[t][2 * r];
      const float w1 = high_float(v) - from_start * u.tile[t][2 * r + 1];
      dbeta[r] = fmaf(low_float(dy), w0, fmaf(high_float(dy), w1, dbeta[r]));
      store_pair(y, beta * w0, beta * w1);
    }
  }
}

// N in the place of Y. Waits for the block before, between and after.
__device__ __forceinline__ void make_n(const LowerSquare& solve, const Values& y) {
  const Part part = part_of_warp();
  const int column = part.column * kValueColumns;
  Accumulator<kValueColumns / 8> n;
  n.set_zero();
  __syncthreads();
  multiply_ab(n, solve, part.row, y, column, 0, part.row + 16);
  __syncthreads();
  store_to_tile(n, y, part.row, column);
  __syncthreads();
}

// dV = beta dY, from the tile to global memory.
__device__ __forceinline__ void store_dv(const Values& dy, const SharedGates& gates, bfloat16* dv, std::int64_t stride,
                                         int rows, int columns) {
  constexpr int kVectors = kSlab / kVectorElements;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kChunk * kVectors; i += kThreads) {
    const int row = i / kVectors, vector = i % kVectors;
    if (row >= rows || vector * kVectorElements >= columns) continue;
    const uint4 values = *reinterpret_cast<const uint4*>(dy.vector(row, vector));
    const float beta = gates.beta(row);
    const auto scaled = [beta](unsigned pair) {
      return pack_bfloat16(beta * low_float(pair), beta * high_float(pair));
    };
    *reinterpret_cast<uint4*>(dv + row * stride + vector * kVectorElements) =
        make_uint4(scaled(values.x), scaled(values.y), scaled(values.z), scaled(values.w));
  }
}

// dpg += dO N^T, da += dY N^T.
__device__ __forceinline__ void add_value_products(const Values& n, const Values& d_o, const Values& dy,
                                                   HeadSums& sums) {
  const Part part = part_of_warp();
  const int column = part.column * kChunkColumns;
#pragma unroll
  for (int t = 0; t < kChunkColumns / 8; t += 2) {
    if (column + 8 * t > part.row) continue;
#pragma unroll
    for (int k = 0; k < kSlab; k += 16) {
      std::uint32_t d_o_rows[4], dy_rows[4];
      load_a(d_o_rows, d_o, part.row, k);
      load_a(dy_rows, dy, part.row, k);
      const FragmentPair rows = load_b(n, column + 8 * t, k);
      multiply(sums.dpg, t, d_o_rows, rows);
      multiply(sums.da, t, dy_rows, rows);
    }
  }
}

// sum += factor . (left right) of the warp's rows and key columns, where left is [kChunk, kSlab], factor_of(i) that of
// row i. row_sums += rows of that . other, whose columns number `key_dim`. It comes from a parameter of the kernel: the
// compiler does not know that the branch is never taken, and loads the fragments of tiles before it no earlier. It
// would spill to hold those of all tiles at once.
template <int kTiles, class Factor, class Other, class Right>
__device__ __forceinline__ void add_product(Accumulator<kTiles>& sum, float (&row_sums)[2], const Values& left,
                                            const Factor& factor_of, const Other& other, int key_dim,
                                            const Right& right) {
  const Part part = part_of_warp();
  const int row = part.row + accumulator_row(), first_column = part.column * 8 * kTiles;
  std::uint32_t a[kSlab / 16][4];
#pragma unroll
  for (int k = 0; k < kSlab / 16; ++k) load_a(a[k], left, part.row, 16 * k);
  const float factor[2] = {factor_of(row), factor_of(row + 8)};
  float products[2] = {0.0f, 0.0f};
#pragma unroll
  for (int t = 0; t < kTiles; t += 2) {
    if (first_column + 8 * t >= key_dim) break;
    Accumulator<2> product;
    product.set_zero();
#pragma unroll
    for (int k = 0; k < kSlab / 16; ++k) {
      multiply(product, 0, a[k], load_b_transposed(right, 16 * k, first_column + 8 * t));
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float x = product.tile[half][2 * r], y = product.tile[half][2 * r + 1];
        const auto pair = *reinterpret_cast<const std::uint32_t*>(
            accumulator_pair(other, part.row + 8 * r, first_column + 8 * (t + half)));
        products[r] = fmaf(x, low_float(pair), fmaf(y, high_float(pair), products[r]));
        sum.tile[t + half][2 * r] = fmaf(factor[r], x, sum.tile[t + half][2 * r]);
        sum.tile[t + half][2 * r + 1] = fmaf(factor[r], y, sum.tile[t + half][2 * r + 1]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) row_sums[r] = fmaf(factor[r], products[r], row_sums[r]);
}

// <dS', S> over the value columns that have the numbers of the warp's rows, and its key columns: the diagonal of a
// product of the two.
template <class Layout>
__device__ __forceinline__ float state_product(const typename Layout::Stage& stage) {
  static_assert(kSlab == kChunk);
  const Part part = part_of_warp();
  const int first_column = part.column * Layout::kKeyColumns;
  Accumulator<2> products;
  products.set_zero();
#pragma unroll
  for (int k = 0; k < Layout::kKeyColumns; k += 16) {
    std::uint32_t rows[4];
    load_a(rows, stage.dstate, part.row, first_column + k);
    multiply(products, 0, rows, load_b(stage.state, part.row, first_column + k));
  }
  float sum = 0.0f;
#pragma unroll
  for (int x = 0; x < 2; ++x) {
    if (accumulator_row() == accumulator_column() + x) sum += products.tile[0][x] + products.tile[1][2 + x];
  }
  return sum;
}

// The terms of dq and dk that hold S and dS', and what goes with them to a, e and z.
template <class Layout>
__device__ __forceinline__ void add_state_products(const Layout& shared, const typename Layout::Stage& stage,
                                                   float scale, int key_dim, typename Layout::KeyAccumulator& dq,
                                                   typename Layout::KeyAccumulator& dk, HeadSums& sums) {
  const SharedGates& gates = shared.gates;
  const auto of_query = [&](int i) { return scale * gates.from_start(i); };
  const auto of_start = [&](int i) { return -gates.from_start(i) * gates.beta(i); };
  const auto of_end = [&](int i) { return gates.to_end(i); };
  add_product(dq, sums.a, stage.d_o, of_query, shared.q, key_dim, stage.state);
  add_product(dk, sums.a, stage.dy, of_start, shared.k, key_dim, stage.state);
  add_product(dk, sums.e, stage.v, of_end, shared.k, key_dim, stage.dstate);
  sums.z += state_product<Layout>(stage);
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule::gradients
