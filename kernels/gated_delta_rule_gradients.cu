#include "kernels/cuda/gated_delta_rule.h"
#include "kernels/cuda/gated_delta_rule_chunk.h"
#include "kernels/cuda/tile.h"

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

constexpr int kSlab = 64;  // value columns at a time
constexpr int kWarpRows = kChunk / 16;

struct Parameters {
  Sizes sizes;
  float scale;
  const std::int32_t* cu_seqlens;
  const bfloat16* q;        // [tokens, heads, key_dim]
  const bfloat16* k;        // [tokens, heads, key_dim]
  const bfloat16* v;        // [tokens, value_heads, value_dim]
  const bfloat16* d_o;      // [tokens, value_heads, value_dim]
  const float* decay;       // [tokens, value_heads]
  const float* beta;        // [tokens, value_heads]
  const bfloat16* solve;    // [slots, value_heads, kChunk, kChunk]
  const bfloat16* states;   // [slots, value_heads, key_dim, value_dim]
  const bfloat16* dstates;  // [slots, value_heads, value_dim, key_dim]
  bfloat16* dv;             // [tokens, value_heads, value_dim], first dY
  bfloat16* dq;             // [tokens, heads, key_dim]
  bfloat16* dk;             // [tokens, heads, key_dim]
  float* dg;                // [tokens, value_heads]
  float* dbeta;             // [tokens, value_heads]
};

// The block's warps are kWarpRows x kColumns: a warp owns 16 rows of every matrix with kChunk rows, and one of kColumns
// parts of its columns.
template <int kKeyDim>
struct Layout {
  static constexpr int kColumns = kKeyDim <= 128 ? 2 : 4;
  static constexpr int kWarps = kWarpRows * kColumns;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kStages = kKeyDim <= 128 ? 2 : 1;

  static constexpr int kKeyColumns = kKeyDim / kColumns;
  static constexpr int kValueColumns = kSlab / kColumns;
  static constexpr int kChunkColumns = kChunk / kColumns;

  using Keys = Tile<kChunk, kKeyDim>;
  using Values = Tile<kChunk, kSlab>;
  using State = Tile<kKeyDim, kSlab>;
  using StateGradient = Tile<kSlab, kKeyDim>;

  // The operands of one slab. `v` becomes Y, then N.
  struct Stage {
    static constexpr int kNumel = State::kNumel + StateGradient::kNumel + 3 * Values::kNumel;
    State state;
    StateGradient dstate;
    Values v, d_o, dy;
  };

  // float32 [kChunk, kChunk], padded so that the stores of accumulators meet no bank twice.
  struct Products {
    static constexpr int kStride = kChunk + 8;
    float* data;
    __device__ __forceinline__ float& at(int row, int column) const { return data[row * kStride + column]; }
  };
  // What takes the place of the stages once all slabs are done.
  struct Epilogue {
    static constexpr int kFloats = Products::kStride * kChunk + (3 * kColumns + kWarps) * kChunk + kWarps;
    static constexpr int kBytes = 2 * Square::kBytes + kFloats * static_cast<int>(sizeof(float));
    Square dp, dkk;
    Products m;
    float* row_sums;  // [3, kColumns, kChunk]: of a, e, dbeta
    float* m_sums;    // [kWarps, kChunk]
    float* z_sums;    // [kWarps]
  };

  static constexpr int kStageBytes = Stage::kNumel * static_cast<int>(sizeof(bfloat16));
  static constexpr int kBytes =
      2 * Keys::kBytes + Square::kBytes + kStages * kStageBytes + Gates::kFloats * static_cast<int>(sizeof(float));
  static_assert(Epilogue::kBytes <= kStages * kStageBytes);

  Keys q, k;
  Square solve;
  Gates gates;
  bfloat16* stages;

  __device__ __forceinline__ static Layout at(bfloat16* memory) {
    bfloat16 *k = memory + Keys::kNumel, *solve = k + Keys::kNumel, *stages = solve + Square::kNumel;
    return {{memory}, {k}, {solve}, {reinterpret_cast<float*>(stages + kStages * Stage::kNumel)}, stages};
  }
  __device__ __forceinline__ Stage stage(int index) const {
    bfloat16* state = stages + index % kStages * Stage::kNumel;
    bfloat16 *dstate = state + State::kNumel, *v = dstate + StateGradient::kNumel, *d_o = v + Values::kNumel;
    return {{state}, {dstate}, {v}, {d_o}, {d_o + Values::kNumel}};
  }
  __device__ __forceinline__ Epilogue epilogue() const {
    bfloat16* dkk = stages + Square::kNumel;
    auto* m = reinterpret_cast<float*>(dkk + Square::kNumel);
    float *row_sums = m + Products::kStride * kChunk, *m_sums = row_sums + 3 * kColumns * kChunk;
    return {{stages}, {dkk}, {m}, row_sums, m_sums, m_sums + kWarps * kChunk};
  }
};

// What a warp accumulates of one value head, and of the lane's two rows.
template <class Layout>
struct HeadSums {
  Accumulator<Layout::kChunkColumns / 8> dpg, da;  // dO N^T, dY N^T; on and below the diagonal blocks
  float a[2], e[2], dbeta[2];                      // parts of rows accumulator_row() and that + 8
  float z;                                         // part of <dS', S>

  __device__ __forceinline__ void set_zero() {
    dpg.set_zero();
    da.set_zero();
    for (int i = 0; i < 2; ++i) a[i] = e[i] = dbeta[i] = 0.0f;
    z = 0.0f;
  }
};

__device__ __forceinline__ float dot(const FragmentPair& x, const FragmentPair& y) {
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum = fmaf(low_float(x.registers[i]), low_float(y.registers[i]), sum);
    sum = fmaf(high_float(x.registers[i]), high_float(y.registers[i]), sum);
  }
  return sum;
}

// sum += factor . (left right), where left [16, kSlab] is the warp's rows of a tile, factor_of(i) that of row i, and
// right_at(k, n) a fragment of right, whose columns are those from first_column on. row_sums += rows of that . other.
template <int kTiles, class Left, class Factor, class Other, class Right>
__device__ __forceinline__ void add_product(Accumulator<kTiles>& sum, float (&row_sums)[2], const Left& left, int row,
                                            const Factor& factor_of, const Other& other, int first_column,
                                            Right&& right_at) {
  std::uint32_t a[kSlab / 16][4];
#pragma unroll
  for (int k = 0; k < kSlab / 16; ++k) load_a(a[k], left, row, 16 * k);
  const float factor[2] = {factor_of(row + accumulator_row()), factor_of(row + accumulator_row() + 8)};
#pragma unroll
  for (int t = 0; t < kTiles; t += 2) {
    Accumulator<2> part;
    part.set_zero();
#pragma unroll
    for (int k = 0; k < kSlab / 16; ++k) multiply(part, 0, a[k], right_at(16 * k, first_column + 8 * t));
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float x = factor[r] * part.tile[half][2 * r], y = factor[r] * part.tile[half][2 * r + 1];
        const auto pair = *reinterpret_cast<const std::uint32_t*>(
            other.at(row + accumulator_row() + 8 * r, first_column + 8 * (t + half) + accumulator_column()));
        row_sums[r] = fmaf(x, low_float(pair), fmaf(y, high_float(pair), row_sums[r]));
        sum.tile[t + half][2 * r] += x;
        sum.tile[t + half][2 * r + 1] += y;
      }
    }
  }
}

// W of the warp's part from V and the state; Y takes the place of V.
template <class Layout>
__device__ __forceinline__ void make_y(const Layout& shared, const typename Layout::Stage& stage, int row, int column,
                                       float (&dbeta)[2]) {
  Accumulator<Layout::kValueColumns / 8> u;
  u.set_zero();
  multiply_ab(u, shared.k, row, stage.state, column);
#pragma unroll
  for (int t = 0; t < Layout::kValueColumns / 8; ++t) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int i = row + accumulator_row() + 8 * r, n = column + 8 * t + accumulator_column();
      const auto v = *reinterpret_cast<const std::uint32_t*>(stage.v.at(i, n));
      const auto dy = *reinterpret_cast<const std::uint32_t*>(stage.dy.at(i, n));
      const float from_start = shared.gates.from_start(i), beta = shared.gates.beta(i);
      const float w0 = low_float(v) - from_start * u.tile[t][2 * r];
      const float w1 = high_float(v) - from_start * u.tile[t][2 * r + 1];
      dbeta[r] = fmaf(low_float(dy), w0, fmaf(high_float(dy), w1, dbeta[r]));
      store_pair(stage.v.at(i, n), beta * w0, beta * w1);
    }
  }
}

// N in the place of Y. Waits for the block before, between and after.
template <class Layout>
__device__ __forceinline__ void make_n(const Layout& shared, const typename Layout::Stage& stage, int row, int column) {
  Accumulator<Layout::kValueColumns / 8> n;
  n.set_zero();
  __syncthreads();
  multiply_ab(n, shared.solve, row, stage.v, column, 0, row + 16);
  __syncthreads();
  store_to_tile(n, stage.v, row, column);
  __syncthreads();
}

// dpg += dO N^T, da += dY N^T.
template <class Layout>
__device__ __forceinline__ void add_value_products(const typename Layout::Stage& stage, int row, int column,
                                                   HeadSums<Layout>& sums) {
#pragma unroll
  for (int k = 0; k < kSlab; k += 16) {
    std::uint32_t d_o[4], dy[4];
    load_a(d_o, stage.d_o, row, k);
    load_a(dy, stage.dy, row, k);
#pragma unroll
    for (int t = 0; t < Layout::kChunkColumns / 8; t += 2) {
      if (column + 8 * t > row) continue;
      const FragmentPair n = load_b(stage.v, column + 8 * t, k);
      multiply(sums.dpg, t, d_o, n);
      multiply(sums.da, t, dy, n);
    }
  }
}

// dV = beta dY, from the tile to global memory.
template <class Layout>
__device__ __forceinline__ void store_dv(const typename Layout::Stage& stage, const Gates& gates, bfloat16* dv,
                                         std::int64_t stride, int rows, int columns) {
  constexpr int kVectors = kSlab / kVectorElements;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kChunk * kVectors; i += Layout::kThreads) {
    const int row = i / kVectors, vector = i % kVectors;
    if (row >= rows || vector * kVectorElements >= columns) continue;
    const uint4 dy = *reinterpret_cast<const uint4*>(stage.dy.vector(row, vector));
    const float beta = gates.beta(row);
    const auto scaled = [beta](unsigned pair) {
      return pack_bfloat16(beta * low_float(pair), beta * high_float(pair));
    };
    *reinterpret_cast<uint4*>(dv + row * stride + vector * kVectorElements) =
        make_uint4(scaled(dy.x), scaled(dy.y), scaled(dy.z), scaled(dy.w));
  }
}

// dP, dKK and M of the warp's part to shared memory, up to the blocks on the diagonal; its part of dbeta.
template <class Layout>
__device__ __forceinline__ void make_score_gradients(const Layout& shared, const typename Layout::Epilogue& epilogue,
                                                     int row, int column, float scale, HeadSums<Layout>& sums) {
#pragma unroll
  for (int t = 0; t < Layout::kChunkColumns / 8; t += 2) {
    if (column + 8 * t > row) continue;
    Accumulator<2> qk, kk;
    qk.set_zero();
    kk.set_zero();
    multiply_abt(qk, shared.q, row, shared.k, column + 8 * t);
    multiply_abt(kk, shared.k, row, shared.k, column + 8 * t);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int i = row + accumulator_row() + 8 * r, j = column + 8 * (t + half) + accumulator_column();
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

// dq += dP K, dk += dP^T Q + (dKK + dKK^T) K.
template <class Layout>
__device__ __forceinline__ void add_score_products(const Layout& shared, const typename Layout::Epilogue& epilogue,
                                                   int row, int column, Accumulator<Layout::kKeyColumns / 8>& dq,
                                                   Accumulator<Layout::kKeyColumns / 8>& dk) {
#pragma unroll
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
      const FragmentPair k = load_b_transposed(shared.k, i, column + 8 * t);
      if (i <= row) {
        multiply(dq, t, dp, k);
        multiply(dk, t, dkk, k);
      }
      if (i >= row) {
        multiply(dk, t, dkk_transposed, k);
        multiply(dk, t, dp_transposed, load_b_transposed(shared.q, i, column + 8 * t));
      }
    }
  }
}

// Sums over i >= t > j of M_ij to epilogue.m_sums[warp][t], of every kWarps'th row i.
template <class Layout>
__device__ __forceinline__ void sum_products(const typename Layout::Epilogue& epilogue) {
  const int lane = lane_index(), column = 2 * lane;
  float sums[2] = {0.0f, 0.0f};  // of t = column and column + 1
  for (int row = warp_index(); row < kChunk; row += Layout::kWarps) {
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
  store_pair(epilogue.m_sums + warp_index() * kChunk + column, sums[0], sums[1]);
}

// By one warp: dg and dbeta of rows 2 lane and 2 lane + 1 from what all warps left in shared memory.
template <class Layout>
__device__ __forceinline__ void finish_gates(const Layout& shared, const typename Layout::Epilogue& epilogue,
                                             const Chunk& chunk, int value_heads, int value_head, float* dg,
                                             float* dbeta) {
  const int lane = lane_index();
  float a[2], e[2], db[2], m[2], z = 0.0f;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = 2 * lane + i;
    const auto sum_columns = [&](int kind) {
      float sum = 0.0f;
      for (int c = 0; c < Layout::kColumns; ++c) sum += epilogue.row_sums[(kind * Layout::kColumns + c) * kChunk + row];
      return sum;
    };
    a[i] = sum_columns(0);
    e[i] = sum_columns(1);
    db[i] = sum_columns(2);
    m[i] = 0.0f;
    for (int warp = 0; warp < Layout::kWarps; ++warp) m[i] += epilogue.m_sums[warp * kChunk + row];
  }
  for (int warp = 0; warp < Layout::kWarps; ++warp) z += epilogue.z_sums[warp];
  z *= shared.gates.whole();

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

// Block (slot, head).
template <int kKeyDim>
__global__ void __launch_bounds__(Layout<kKeyDim>::kThreads, 1) gradients_kernel(Parameters p) {
  using Layout = Layout<kKeyDim>;
  constexpr int kThreads = Layout::kThreads;
  const Sizes& sizes = p.sizes;
  const int slot = static_cast<int>(blockIdx.x) / sizes.heads, head = static_cast<int>(blockIdx.x) % sizes.heads;
  Chunk chunk;
  if (!find_chunk(p.cu_seqlens, sizes.sequences, slot, chunk)) return;

  const Layout shared = Layout::at(dynamic_shared<bfloat16>());
  const int thread = static_cast<int>(threadIdx.x), warp = warp_index();
  const int slabs = static_cast<int>(divide_up(sizes.value_dim, kSlab)), group = sizes.value_heads / sizes.heads;

  const std::int64_t key_stride = static_cast<std::int64_t>(sizes.heads) * kKeyDim;
  const std::int64_t value_stride = static_cast<std::int64_t>(sizes.value_heads) * sizes.value_dim;
  const std::int64_t keys = chunk.begin * key_stride + head * kKeyDim;
  copy_tile_async<kThreads>(shared.q, p.q + keys, key_stride, chunk.length, kKeyDim, thread);
  copy_tile_async<kThreads>(shared.k, p.k + keys, key_stride, chunk.length, kKeyDim, thread);

  Accumulator<Layout::kKeyColumns / 8> dq, dk;
  dq.set_zero();
  dk.set_zero();
  for (int value_head = head * group; value_head < (head + 1) * group; ++value_head) {
    const int place = opaque(warp), row = place % kWarpRows * 16, part = place / kWarpRows;
    const std::int64_t square = static_cast<std::int64_t>(slot) * sizes.value_heads + value_head;
    const auto start_loading = [&](int slab) {
      const auto stage = shared.stage(slab);
      const int columns = sizes.value_dim - slab * kSlab;
      const std::int64_t state = square * kKeyDim * sizes.value_dim;
      const std::int64_t values = chunk.begin * value_stride + value_head * sizes.value_dim + slab * kSlab;
      copy_tile_async<kThreads>(stage.state, p.states + state + slab * kSlab, sizes.value_dim, kKeyDim, columns,
                                thread);
      copy_tile_async<kThreads>(stage.dstate, p.dstates + state + slab * kSlab * kKeyDim, kKeyDim, columns, kKeyDim,
                                thread);
      copy_tile_async<kThreads>(stage.v, p.v + values, value_stride, chunk.length, columns, thread);
      copy_tile_async<kThreads>(stage.d_o, p.d_o + values, value_stride, chunk.length, columns, thread);
      copy_tile_async<kThreads>(stage.dy, p.dv + values, value_stride, chunk.length, columns, thread);
      commit_copies();
    };
    copy_tile_async<kThreads>(shared.solve, p.solve + square * Square::kNumel, kChunk, kChunk, kChunk, thread);
    start_loading(0);
    if (thread < kChunk) {
      shared.gates.set(thread, load_row_gates(p.decay, p.beta, sizes.value_heads, value_head, chunk, thread));
    }
    wait_for_copies<0>();
    __syncthreads();
    apply_gates<kThreads>(shared.solve, shared.gates, thread);

    HeadSums<Layout> sums;
    sums.set_zero();
    for (int slab = 0; slab < slabs; ++slab) {
      const auto stage = shared.stage(slab);
      if (slab > 0) {
        wait_for_copies<0>();
        __syncthreads();
      }
      if (Layout::kStages > 1 && slab + 1 < slabs) start_loading(slab + 1);

      const int value_column = part * Layout::kValueColumns, key_column = part * Layout::kKeyColumns;
      make_y(shared, stage, row, value_column, sums.dbeta);
      make_n(shared, stage, row, value_column);
      store_dv<Layout>(stage, shared.gates,
                       p.dv + chunk.begin * value_stride + value_head * sizes.value_dim + slab * kSlab, value_stride,
                       chunk.length, sizes.value_dim - slab * kSlab);
      add_value_products(stage, row, part * Layout::kChunkColumns, sums);

      const auto query_factor = [&](int i) { return p.scale * shared.gates.from_start(i); };
      const auto end_factor = [&](int i) { return shared.gates.to_end(i); };
      const auto start_factor = [&](int i) { return -shared.gates.from_start(i) * shared.gates.beta(i); };
      const auto state_columns = [&](int k, int n) { return load_b(stage.state, n, k); };
      add_product(dq, sums.a, stage.d_o, row, query_factor, shared.q, key_column, state_columns);
      add_product(dk, sums.a, stage.dy, row, start_factor, shared.k, key_column, state_columns);
      add_product(dk, sums.e, stage.v, row, end_factor, shared.k, key_column, [&](int k, int n) {
        const FragmentPair dstate = load_b_transposed(stage.dstate, k, n);
        if (k == row) sums.z += dot(dstate, load_b(stage.state, n, k));  // kSlab = kChunk: every k is one warp's row
        return dstate;
      });
      if (Layout::kStages == 1 && slab + 1 < slabs) {
        __syncthreads();
        start_loading(slab + 1);
      }
    }
    __syncthreads();

    const auto epilogue = shared.epilogue();
    make_score_gradients(shared, epilogue, row, part * Layout::kChunkColumns, p.scale, sums);
    const auto store_row_sums = [&](int kind, const float(&parts)[2]) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float sum = parts[r];
        sum += __shfl_xor_sync(kAllLanes, sum, 1);
        sum += __shfl_xor_sync(kAllLanes, sum, 2);
        const int i = row + accumulator_row() + 8 * r;
        if (accumulator_column() == 0) epilogue.row_sums[(kind * Layout::kColumns + part) * kChunk + i] = sum;
      }
    };
    store_row_sums(0, sums.a);
    store_row_sums(1, sums.e);
    store_row_sums(2, sums.dbeta);
    const float z = warp_sum(sums.z);
    if (lane_index() == 0) epilogue.z_sums[warp] = z;
    __syncthreads();
    sum_products<Layout>(epilogue);
    add_score_products(shared, epilogue, row, part * Layout::kKeyColumns, dq, dk);
    __syncthreads();
    if (warp == 0) finish_gates(shared, epilogue, chunk, sizes.value_heads, value_head, p.dg, p.dbeta);
    __syncthreads();  // before the next value head's operands
  }

  const int row = warp % kWarpRows * 16, part = warp / kWarpRows;
  const std::int64_t key_rows = keys + row * key_stride + part * Layout::kKeyColumns;
  store_to_global(dq, p.dq + key_rows, key_stride, chunk.length - row, Layout::kKeyColumns);
  store_to_global(dk, p.dk + key_rows, key_stride, chunk.length - row, Layout::kKeyColumns);
}

}  // namespace

void chunk_gradients(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& d_o,
                     const Tensor& states, const Tensor& dstates, const GatedDeltaRuleGradients& gradients,
                     Stream stream) {
  const Sizes sizes = sizes_of(inputs);
  const Parameters parameters{.sizes = sizes,
                              .scale = inputs.scale,
                              .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>(),
                              .q = inputs.q.data<bfloat16>(),
                              .k = inputs.k.data<bfloat16>(),
                              .v = inputs.v.data<bfloat16>(),
                              .d_o = d_o.data<bfloat16>(),
                              .decay = saved.decay.data<float>(),
                              .beta = inputs.beta.data<float>(),
                              .solve = saved.solve.data<bfloat16>(),
                              .states = states.data<bfloat16>(),
                              .dstates = dstates.data<bfloat16>(),
                              .dv = gradients.dv.data<bfloat16>(),
                              .dq = gradients.dq.data<bfloat16>(),
                              .dk = gradients.dk.data<bfloat16>(),
                              .dg = gradients.dg.data<float>(),
                              .dbeta = gradients.dbeta.data<float>()};
  const dim3 grid(static_cast<unsigned>(sizes.slots() * sizes.heads));
  dispatch_key_dim(sizes.key_dim, [&]<int kKeyDim>() {
    launch(gradients_kernel<kKeyDim>, grid, Layout<kKeyDim>::kThreads, Layout<kKeyDim>::kBytes, stream, parameters);
  });
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
