#include <algorithm>

#include "kernels/gated_delta_rule/cuda/chunk.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/cuda/memory.h"
#include "kernels/gated_delta_rule/cuda/tile.h"

// What does not depend on the state: per chunk and value head, the gates, scale (Q K^T) . G, and T . G of the inverse
// T = (I + A)^-1 of A = diag(beta) stril(K K^T). Entries of T are bounded by beta where |k| <= 1, but powers of A are
// not, so the inverse is by substitution (the blocks of 16 on the diagonal) and block elimination (16 -> 32 -> 64),
// never by a power series.
namespace mudelta::kernels::cuda::gated_delta_rule {
namespace {

constexpr int kThreads = 128, kBlock = 16;

// A [kChunk, kChunk] matrix of float32 in shared memory. The stride keeps fragment loads of rows free of bank
// conflicts.
struct FloatSquare {
  static constexpr int kStride = kChunk + 4;
  static constexpr int kBytes = kChunk * kStride * static_cast<int>(sizeof(float));
  float* data;

  __device__ __forceinline__ float& at(int row, int column) const { return data[row * kStride + column]; }
};

// x as the sum of two tf32 numbers, to about 2^-22 of x.
struct Split {
  std::uint32_t high, low;
};
__device__ __forceinline__ Split split(float x) {
  const std::uint32_t high = to_tf32(x);
  return {high, to_tf32(x - reinterpret_as_float(high))};
}

// c [16, 8] += sign a[a_row + ., a_column + k] b[b_row + k, b_column + .] over k in [begin, end), multiples of 8, to
// float32 rounding: the product of the two low parts alone is left out.
__device__ __forceinline__ void multiply_strip(float (&c)[4], float sign, const FloatSquare& a, int a_row, int a_column,
                                               const FloatSquare& b, int b_row, int b_column, int begin, int end) {
  const int r = lane_index() / 4, q = lane_index() % 4;
  for (int k = begin; k < end; k += 8) {
    std::uint32_t a_high[4], a_low[4], b_high[2], b_low[2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Split part = split(sign * a.at(a_row + r + i % 2 * 8, a_column + k + q + i / 2 * 4));
      a_high[i] = part.high, a_low[i] = part.low;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const Split part = split(b.at(b_row + k + q + i * 4, b_column + r));
      b_high[i] = part.high, b_low[i] = part.low;
    }
    mma_tf32(c, a_low, b_high);
    mma_tf32(c, a_high, b_low);
    mma_tf32(c, a_high, b_high);
  }
}

__device__ __forceinline__ void store_strip(const float (&c)[4], const FloatSquare& to, int row, int column) {
  const int r = row + accumulator_row(), n = column + accumulator_column();
  store_pair(&to.at(r, n), c[0], c[1]);
  store_pair(&to.at(r + 8, n), c[2], c[3]);
}

constexpr int kRowBlocks = kChunk / kBlock;  // of the warp that has the row

// Of the warp's row of blocks, on and below the diagonal: K K^T and Q K^T.
template <int kKeyDim>
__device__ __forceinline__ void multiply_keys(const Tile<kChunk, kKeyDim>& queries, const Tile<kChunk, kKeyDim>& keys,
                                              Accumulator<2> (&kk)[kRowBlocks], Accumulator<2> (&qk)[kRowBlocks]) {
  const int row_block = uniform_warp_index(), row = row_block * kBlock;
#pragma unroll
  for (int n = 0; n < kRowBlocks; ++n) {
    kk[n].set_zero();
    qk[n].set_zero();
  }
#pragma unroll
  for (int k = 0; k < kKeyDim; k += 16) {
    std::uint32_t key_rows[4], query_rows[4];
    load_a(key_rows, keys, row, k);
    load_a(query_rows, queries, row, k);
#pragma unroll
    for (int n = 0; n < kRowBlocks; ++n) {
      if (n > row_block) continue;
      const FragmentPair columns = load_b(keys, n * kBlock, k);
      multiply(kk[n], 0, key_rows, columns);
      multiply(qk[n], 0, query_rows, columns);
    }
  }
}

// a = diag(beta) stril(K K^T) and scores = scale (Q K^T) . G, of the warp's row of blocks.
__device__ __forceinline__ void store_products(const Accumulator<2> (&kk)[kRowBlocks], Accumulator<2> (&qk)[kRowBlocks],
                                               float scale, const SharedGates& gates, const FloatSquare& a,
                                               bfloat16* scores) {
  const int row_block = uniform_warp_index(), row = row_block * kBlock;
#pragma unroll
  for (int n = 0; n < kRowBlocks; ++n) {
    if (n > row_block) break;
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      float scaled[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = row + accumulator_row() + i / 2 * 8;
        const int c = n * kBlock + 8 * t + accumulator_column() + i % 2;
        scaled[i] = c < r ? gates.beta(r) * kk[n].tile[t][i] : 0.0f;
        qk[n].tile[t][i] *= scale * gates.between(r, c);
      }
      store_strip(scaled, a, row, n * kBlock + 8 * t);
    }
    store_to_global(qk[n], scores + LowerSquare::first_row(row, n * kBlock) * kBlock, kBlock, kBlock, kBlock);
  }
}

// x = (I + a)^-1 within the diagonal block of a warp, by forward substitution: a lane has a column.
__device__ __forceinline__ void invert_diagonal_block(const FloatSquare& a, const FloatSquare& x) {
  const int first = uniform_warp_index() * kBlock, column = lane_index() % kBlock;
  float solution[kBlock];
#pragma unroll
  for (int i = 0; i < kBlock; ++i) {
    solution[i] = i == column ? 1.0f : 0.0f;
#pragma unroll
    for (int j = 0; j < i; j += 4) {  // a is zero from its diagonal on
      const float4 factors = *reinterpret_cast<const float4*>(&a.at(first + i, first + j));
      solution[i] = fmaf(-factors.x, solution[j], solution[i]);
      if (j + 1 < i) solution[i] = fmaf(-factors.y, solution[j + 1], solution[i]);
      if (j + 2 < i) solution[i] = fmaf(-factors.z, solution[j + 2], solution[i]);
      if (j + 3 < i) solution[i] = fmaf(-factors.w, solution[j + 3], solution[i]);
    }
  }
  if (lane_index() >= kBlock) return;
#pragma unroll
  for (int i = 0; i < kBlock; ++i) x.at(first + i, first + column) = solution[i];
}

// The inverse of [[P, 0], [R, Q]] is [[P^-1, 0], [-Q^-1 R P^-1, Q^-1]]. With the inverses of blocks of kSize known in
// x, a warp computes 8 columns of the lower left part of a pair of blocks; R P^-1 stands there meanwhile. Blocks of x
// above the diagonal are zeros that were never written: they are left out.
template <int kSize>
__device__ __forceinline__ void merge_blocks(const FloatSquare& a, const FloatSquare& x) {
  constexpr int kStrips = kSize / 8, kBlocks = kSize / kBlock;
  const int warp = uniform_warp_index();
  const int first = warp / kStrips * 2 * kSize, second = first + kSize;
  const int strip = warp % kStrips * 8, column = first + strip;
  float part[kBlocks][4] = {};
#pragma unroll
  for (int m = 0; m < kBlocks; ++m) {
    multiply_strip(part[m], 1.0f, a, second + m * kBlock, first, x, first, column, strip / kBlock * kBlock, kSize);
    store_strip(part[m], x, second + m * kBlock, column);
  }
  __syncwarp();
#pragma unroll
  for (int m = 0; m < kBlocks; ++m) {
#pragma unroll
    for (float& element : part[m]) element = 0.0f;
    multiply_strip(part[m], -1.0f, x, second + m * kBlock, second, x, second, column, 0, (m + 1) * kBlock);
  }
  __syncwarp();
#pragma unroll
  for (int m = 0; m < kBlocks; ++m) store_strip(part[m], x, second + m * kBlock, column);
}

// By one warp: the chunk's gates, to shared and to global memory.
__device__ __forceinline__ void make_gates(const float* g, const float* beta, std::int64_t stride, int rows,
                                           const SharedGates& shared, float* global) {
  constexpr int kRows = kChunk / kWarpSize;  // a lane has rows lane and lane + kWarpSize
  float decay[kRows], before = 0.0f;
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = i * kWarpSize + lane_index();
    float sum = row < rows ? g[row * stride] : 0.0f;
    if (sum < kLowestLogDecay) sum = kLowestLogDecay;  // fmaxf would drop NaN
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const float other = __shfl_up_sync(kAllLanes, sum, offset);
      if (lane_index() >= offset) sum += other;
    }
    decay[i] = sum + before;
    before = __shfl_sync(kAllLanes, decay[i], kWarpSize - 1);
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = i * kWarpSize + lane_index();
    shared.from_start(row) = fast_exp2(decay[i] * kLog2E);
    shared.to_end(row) = fast_exp2((before - decay[i]) * kLog2E);
    shared.beta(row) = row < rows ? beta[row * stride] : 0.0f;
    shared.decay(row) = decay[i];
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < SharedGates::kFloats; i += kWarpSize) global[i + lane_index()] = shared.memory[i + lane_index()];
}

// T . G, of x = T.
__device__ __forceinline__ void store_solve(const FloatSquare& x, const SharedGates& gates, bfloat16* solve,
                                            int thread) {
  constexpr int kVectors = LowerSquare::kNumel / kVectorElements, kBlockVectors = kVectors / LowerSquare::kBlocks;
#pragma unroll
  for (int first = 0; first < kVectors; first += kThreads) {
    const int i = first + thread;
    if (i >= kVectors) break;
    const int block = i / kBlockVectors, block_row = block < 1 ? 0 : block < 3 ? 1 : block < 6 ? 2 : 3;
    const int row = block_row * kBlock + i % kBlockVectors / 2;
    const int column = (block - block_row * (block_row + 1) / 2) * kBlock + i % 2 * kVectorElements;
    const auto* values = reinterpret_cast<const float4*>(&x.at(row, column));
    const auto gated = [&](float left, float right, int j) {
      return pack_bfloat16(left * gates.between(row, column + j), right * gates.between(row, column + j + 1));
    };
    const float4 low = values[0], high = values[1];
    *reinterpret_cast<uint4*>(solve + kVectorElements * i) =
        make_uint4(gated(low.x, low.y, 0), gated(low.z, low.w, 2), gated(high.x, high.y, 4), gated(high.z, high.w, 6));
  }
}

struct PrepareParameters {
  KernelSizes sizes;
  float scale;
  const std::int32_t* cu_seqlens;
  const bfloat16* q;  // [tokens, heads, key_dim]
  const bfloat16* k;  // [tokens, heads, key_dim]
  const float* g;     // [tokens, value_heads]
  const float* beta;  // [tokens, value_heads]
  float* gates;       // these as in Prepared
  bfloat16* solve;
  bfloat16* scores;
};

// Q, then A; K, then T; and the gates.
template <int kKeyDim>
struct PrepareLayout {
  static constexpr int kMatrixBytes = std::max(FloatSquare::kBytes, Tile<kChunk, kKeyDim>::kBytes);
  static constexpr int kBytes = 2 * kMatrixBytes + SharedGates::kBytes;
  static_assert(kBytes <= kMostSharedBytes);
};

// Block (slot, value head).
template <int kKeyDim>
__global__ void __launch_bounds__(kThreads) prepare_kernel(PrepareParameters p) {
  using Layout = PrepareLayout<kKeyDim>;
  const int slot = static_cast<int>(blockIdx.x) / p.sizes.value_heads;
  const int value_head = static_cast<int>(blockIdx.x) % p.sizes.value_heads;
  Chunk chunk;
  if (!find_chunk(p.cu_seqlens, p.sizes.sequences, slot, chunk)) return;

  auto* memory = dynamic_shared<unsigned char>();
  auto *first = memory, *second = memory + Layout::kMatrixBytes;
  const Tile<kChunk, kKeyDim> q{reinterpret_cast<bfloat16*>(first)}, k{reinterpret_cast<bfloat16*>(second)};
  const FloatSquare a{reinterpret_cast<float*>(first)}, x{reinterpret_cast<float*>(second)};
  const SharedGates gates{reinterpret_cast<float*>(memory + 2 * Layout::kMatrixBytes)};

  const int head = value_head / (p.sizes.value_heads / p.sizes.heads), thread = static_cast<int>(threadIdx.x);
  const std::int64_t key_stride = static_cast<std::int64_t>(p.sizes.heads) * kKeyDim;
  const std::int64_t keys = chunk.begin * key_stride + head * kKeyDim;
  copy_tile_async<kThreads>(k, p.k + keys, key_stride, chunk.length, kKeyDim, thread);
  copy_tile_async<kThreads>(q, p.q + keys, key_stride, chunk.length, kKeyDim, thread);
  commit_copies();

  const std::int64_t square = static_cast<std::int64_t>(slot) * p.sizes.value_heads + value_head;
  if (uniform_warp_index() == 0) {
    const std::int64_t gate = static_cast<std::int64_t>(chunk.begin) * p.sizes.value_heads + value_head;
    make_gates(p.g + gate, p.beta + gate, p.sizes.value_heads, chunk.length, gates,
               p.gates + square * SharedGates::kFloats);
  }

  wait_for_copies<0>();
  __syncthreads();
  Accumulator<2> kk[kRowBlocks], qk[kRowBlocks];
  multiply_keys(q, k, kk, qk);
  __syncthreads();  // q and k have been read
  store_products(kk, qk, p.scale, gates, a, p.scores + square * LowerSquare::kNumel);
  __syncwarp();
  invert_diagonal_block(a, x);
  __syncthreads();
  merge_blocks<kBlock>(a, x);
  __syncthreads();
  merge_blocks<2 * kBlock>(a, x);
  __syncthreads();
  store_solve(x, gates, p.solve + square * LowerSquare::kNumel, thread);
}

static_assert(SharedGates::kFloats == 4 * kChunk && LowerSquare::kNumel == 10 * 16 * 16);  // memory.h

}  // namespace

void prepare(const GatedDeltaRuleInputs& inputs, Saved& saved, Stream stream) {
  const KernelSizes sizes = sizes_of(inputs);
  const Device device = inputs.q.device();
  const Shape squares = squares_shape(sizes.slots(), sizes.value_heads);
  saved.gates = Tensor::empty(gates_shape(sizes.slots(), sizes.value_heads), DType::kFloat32, device);
  saved.solve = Tensor::empty(squares, DType::kBFloat16, device);
  saved.scores = Tensor::empty(squares, DType::kBFloat16, device);
  const PrepareParameters parameters{.sizes = sizes,
                                     .scale = inputs.scale,
                                     .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>(),
                                     .q = inputs.q.data<bfloat16>(),
                                     .k = inputs.k.data<bfloat16>(),
                                     .g = inputs.g.data<float>(),
                                     .beta = inputs.beta.data<float>(),
                                     .gates = saved.gates.data<float>(),
                                     .solve = saved.solve.data<bfloat16>(),
                                     .scores = saved.scores.data<bfloat16>()};
  const dim3 grid(static_cast<unsigned>(sizes.slots()) * static_cast<unsigned>(sizes.value_heads));
  dispatch_key_dim(sizes.key_dim, [&]<int kKeyDim>() {
    launch(prepare_kernel<kKeyDim>, grid, kThreads, PrepareLayout<kKeyDim>::kBytes, stream, parameters);
  });
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
