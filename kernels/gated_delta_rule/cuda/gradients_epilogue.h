#pragma once

#include "kernels/gated_delta_rule/cuda/gradients.h"

// What gradients.cu computes of a value head from the sums over its slabs: the terms of dq and dk that
// hold dP and dKK, dg and dbeta.
namespace mudelta::kernels::cuda::gated_delta_rule::gradients {

// dP, dKK and M of the warp's part to shared memory, up to the blocks on the diagonal; its part of dbeta.
template <class Layout>
__device__ __forceinline__ void make_score_gradients(const Layout& shared, const Epilogue& epilogue, float scale,
                                                     HeadSums& sums) {
  const Part part = part_of_warp();
#pragma unroll
  for (int t = 0; t < kChunkColumns / 8; t += 2) {
    const int column = part.column * kChunkColumns + 8 * t;
    if (column > part.row) continue;
    Accumulator<2> qk, kk;
    qk.set_zero();
    kk.set_zero();
#pragma unroll 2
    for (int key = 0; key < Layout::Keys::kColumns; key += 16) {
      std::uint32_t q_rows[4], k_rows[4];
      load_a(q_rows, shared.q, part.row, key);
      load_a(k_rows, shared.k, part.row, key);
      const FragmentPair keys = load_b(shared.k, column, key);
      multiply(qk, 0, q_rows, keys);
      multiply(kk, 0, k_rows, keys);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int i = part.row + accumulator_row() + 8 * r, j = column + 8 * half + accumulator_column();
        const float beta = shared.gates.beta(i);
        float dp[2], dkk[2], m[2];
#pragma unroll
        for (int x = 0; x < 2; ++x) {
          const bool below = j + x < i;
          const float gate = shared.gates.between(i, j + x);
          dp[x] = scale * gate * sums.dpg.tile[t + half][2 * r + x];
          const float da = below ? -gate * sums.da.tile[t + half][2 * r + x] : 0.0f;
          const float da_kk = da * kk.tile[half][2 * r + x];
          sums.dbeta[r] += da_kk;
          dkk[x] = beta * da;
          m[x] = below ? dp[x] * qk.tile[half][2 * r + x] + beta * da_kk : 0.0f;
        }
        store_pair(epilogue.dp.at(i, j), dp[0], dp[1]);
        store_pair(epilogue.dkk.at(i, j), dkk[0], dkk[1]);
        store_pair(&epilogue.m.at(i, j), m[0], m[1]);
      }
    }
  }
}

// The warp's parts of a, e, dbeta and z to shared memory.
__device__ __forceinline__ void store_sums(const Epilogue& epilogue, const HeadSums& sums) {
  const Part part = part_of_warp();
  const auto store_rows = [&](int kind, const float(&parts)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = parts[r];
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      const int i = part.row + accumulator_row() + 8 * r;
      if (accumulator_column() == 0) epilogue.row_sums[(kind * kColumns + part.column) * kChunk + i] = sum;
    }
  };
  store_rows(0, sums.a);
  store_rows(1, sums.e);
  store_rows(2, sums.dbeta);
  const float z = warp_sum(sums.z);
  if (lane_index() == 0) epilogue.z_sums[warp_index()] = z;
}

// Sums over i >= t > j of M_ij to epilogue.m_sums[warp][t], of every kWarps'th row i.
__device__ __forceinline__ void sum_products(const Epilogue& epilogue) {
  const int lane = lane_index(), column = 2 * lane, warp = uniform_warp_index();
  float sums[2] = {0.0f, 0.0f};  // of t = column and column + 1
  for (int row = warp; row < kChunk; row += kWarps) {
    const float2 m = *reinterpret_cast<const float2*>(&epilogue.m.at(row, column));
    float before = m.x + m.y;  // M_ij over j < column + 2, then j < column
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const float other = __shfl_up_sync(kAllLanes, before, offset);
      if (lane >= offset) before += other;
    }
    before = __shfl_up_sync(kAllLanes, before, 1);
    if (lane == 0) before = 0.0f;
    if (column <= row) sums[0] += before;
    if (column + 1 <= row) sums[1] += before + m.x;
  }
  store_pair(epilogue.m_sums + warp * kChunk + column, sums[0], sums[1]);
}

// dq += dP K, dk += dP^T Q + (dKK + dKK^T) K.
template <class Layout>
__device__ __forceinline__ void add_score_products(const Layout& shared, const Epilogue& epilogue,
                                                   typename Layout::KeyAccumulator& dq,
                                                   typename Layout::KeyAccumulator& dk) {
  const Part part = part_of_warp();
  const int row = part.row, first_column = part.column * Layout::kKeyColumns;
#pragma unroll 1  // the fragments of all blocks at once would not fit into registers
  for (int i = 0; i < kChunk; i += 16) {
    std::uint32_t dp[4], dkk[4], dp_transposed[4], dkk_transposed[4];
    if (i <= row) {
      load_a(dp, epilogue.dp, row, i);
      load_a(dkk, epilogue.dkk, row, i);
    }
    if (i >= row) {
      load_a_transposed(dp_transposed, epilogue.dp, i, row);
      load_a_transposed(dkk_transposed, epilogue.dkk, i, row);
    }
#pragma unroll
    for (int t = 0; t < Layout::kKeyColumns / 8; t += 2) {
      const int column = first_column + 8 * t;
      const FragmentPair k = load_b_transposed(shared.k, i, column);
      if (i <= row) {
        multiply(dq, t, dp, k);
        multiply(dk, t, dkk, k);
      }
      if (i >= row) {
        multiply(dk, t, dkk_transposed, k);
        multiply(dk, t, dp_transposed, load_b_transposed(shared.q, i, column));
      }
    }
  }
}

// By one warp: dg and dbeta of rows 2 lane and 2 lane + 1 from what all warps left in shared memory.
__device__ __forceinline__ void finish_gates(const SharedGates& gates, const Epilogue& epilogue, const Chunk& chunk,
                                             int value_heads, int value_head, float* dg, float* dbeta) {
  const int lane = lane_index();
  float a[2], e[2], db[2], m[2], z = 0.0f;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = 2 * lane + i;
    const auto sum_columns = [&](int kind) {
      float sum = 0.0f;
      for (int c = 0; c < kColumns; ++c) sum += epilogue.row_sums[(kind * kColumns + c) * kChunk + row];
      return sum;
    };
    a[i] = sum_columns(0);
    e[i] = sum_columns(1);
    db[i] = sum_columns(2);
    m[i] = 0.0f;
    for (int warp = 0; warp < kWarps; ++warp) m[i] += epilogue.m_sums[warp * kChunk + row];
  }
  for (int warp = 0; warp < kWarps; ++warp) z += epilogue.z_sums[warp];
  z *= gates.whole();

  float after = a[0] + a[1], before = e[0] + e[1];  // a of later rows, e of earlier ones, and of these
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const float later = __shfl_down_sync(kAllLanes, after, offset), earlier = __shfl_up_sync(kAllLanes, before, offset);
    if (lane + offset < kWarpSize) after += later;
    if (lane >= offset) before += earlier;
  }
  before = __shfl_up_sync(kAllLanes, before, 1);
  if (lane == 0) before = 0.0f;
  float after_next = __shfl_down_sync(kAllLanes, after, 1);
  if (lane == kWarpSize - 1) after_next = 0.0f;
  const float result[2] = {z + after + before + m[0], z + (after_next + a[1]) + (before + e[0]) + m[1]};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = 2 * lane + i;
    if (row >= chunk.length) continue;
    const std::int64_t gate = static_cast<std::int64_t>(chunk.begin + row) * value_heads + value_head;
    dg[gate] = result[i];
    dbeta[gate] = db[i];
  }
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule::gradients
