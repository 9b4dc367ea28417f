#include <algorithm>

#include "kernels/gated_delta_rule/cuda/chunk.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/cuda/tile.h"

// What does not depend on the state: per chunk and value head, the cumulative gate and T = (I + A)^-1 of
// A = diag(beta) stril(K K^T). Entries of T are bounded by beta where |k| <= 1, but powers of A are not, so the inverse
// is by substitution (the blocks of 16 on the diagonal) and block elimination (16 -> 32 -> 64), never by a power
// series.
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

// a = diag(beta) stril(K K^T) on and below the diagonal blocks: a warp has one row of blocks.
template <int kKeyDim>
__device__ __forceinline__ void key_products(const Tile<kChunk, kKeyDim>& keys, const float* beta,
                                             const FloatSquare& a) {
  constexpr int kBlocks = kChunk / kBlock;
  const int row_block = uniform_warp_index(), row = row_block * kBlock;
  Accumulator<2> products[kBlocks];
#pragma unroll
  for (auto& block : products) block.set_zero();
#pragma unroll
  for (int k = 0; k < kKeyDim; k += 16) {
    std::uint32_t left[4];
    load_a(left, keys, row, k);
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      if (n <= row_block) multiply(products[n], 0, left, load_b(keys, n * kBlock, k));
    }
  }
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
    if (n > row_block) break;
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      float scaled[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = row + accumulator_row() + i / 2 * 8;
        const int c = n * kBlock + 8 * t + accumulator_column() + i % 2;
        scaled[i] = c < r ? beta[r] * products[n].tile[t][i] : 0.0f;
      }
      store_strip(scaled, a, row, n * kBlock + 8 * t);
    }
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

struct PrepareParameters {
  KernelSizes sizes;
  const std::int32_t* cu_seqlens;
  const bfloat16* k;  // [tokens, heads, key_dim]
  const float* g;     // [tokens, value_heads]
  const float* beta;  // [tokens, value_heads]
  float* decay;       // [tokens, value_heads]
  bfloat16* solve;    // [slots, value_heads, kChunk, kChunk]
};

template <int kKeyDim>
constexpr int shared_bytes() {
  constexpr int kBytes = FloatSquare::kBytes + std::max(FloatSquare::kBytes, Tile<kChunk, kKeyDim>::kBytes) +
                         kChunk * static_cast<int>(sizeof(float));
  static_assert(kBytes <= kMostSharedBytes);
  return kBytes;
}

// Block (slot, value head).
template <int kKeyDim>
__global__ void __launch_bounds__(kThreads) prepare_kernel(PrepareParameters p) {
  const int slot = static_cast<int>(blockIdx.x) / p.sizes.value_heads;
  const int value_head = static_cast<int>(blockIdx.x) % p.sizes.value_heads;
  Chunk chunk;
  if (!find_chunk(p.cu_seqlens, p.sizes.sequences, slot, chunk)) return;

  const FloatSquare a{dynamic_shared<float>()};
  const FloatSquare x{a.data + FloatSquare::kBytes / sizeof(float)};  // in the place of the keys, once they are used
  const Tile<kChunk, kKeyDim> k{reinterpret_cast<bfloat16*>(x.data)};
  float* beta = a.data + (shared_bytes<kKeyDim>() / sizeof(float) - kChunk);

  const int head = value_head / (p.sizes.value_heads / p.sizes.heads), thread = static_cast<int>(threadIdx.x);
  const std::int64_t key_stride = static_cast<std::int64_t>(p.sizes.heads) * kKeyDim;
  copy_tile_async<kThreads>(k, p.k + chunk.begin * key_stride + head * kKeyDim, key_stride, chunk.length, kKeyDim,
                            thread);
  commit_copies();

  const auto gate = [&](int row) {
    return static_cast<std::int64_t>(chunk.begin + row) * p.sizes.value_heads + value_head;
  };
  if (thread < kChunk) beta[thread] = thread < chunk.length ? p.beta[gate(thread)] : 0.0f;
  if (uniform_warp_index() == kThreads / kWarpSize - 1) {
    float before = 0;
    for (int first = 0; first < kChunk; first += kWarpSize) {
      const int row = first + lane_index();
      float sum = row < chunk.length ? p.g[gate(row)] : 0.0f;
      if (sum < kLowestLogDecay) sum = kLowestLogDecay;  // fmaxf would drop NaN
      for (int offset = 1; offset < kWarpSize; offset *= 2) {
        const float other = __shfl_up_sync(kAllLanes, sum, offset);
        if (lane_index() >= offset) sum += other;
      }
      sum += before;
      if (row < chunk.length) p.decay[gate(row)] = sum;
      before = __shfl_sync(kAllLanes, sum, kWarpSize - 1);
    }
  }

  wait_for_copies<0>();
  __syncthreads();
  key_products(k, beta, a);
  __syncthreads();
  invert_diagonal_block(a, x);
  __syncthreads();
  merge_blocks<kBlock>(a, x);
  __syncthreads();
  merge_blocks<2 * kBlock>(a, x);
  __syncthreads();

  bfloat16* solve = p.solve + (static_cast<std::int64_t>(slot) * p.sizes.value_heads + value_head) * kChunk * kChunk;
#pragma unroll
  for (int i = thread; i < kChunk * kChunk / 4; i += kThreads) {
    const int row = i / (kChunk / 4), column = i % (kChunk / 4) * 4;
    uint2 packed = make_uint2(0, 0);  // above the diagonal blocks, where x has no values
    if (column / kBlock <= row / kBlock) {
      const float4 values = *reinterpret_cast<const float4*>(&x.at(row, column));
      packed = make_uint2(pack_bfloat16(values.x, values.y), pack_bfloat16(values.z, values.w));
    }
    *reinterpret_cast<uint2*>(solve + row * kChunk + column) = packed;
  }
}

}  // namespace

void prepare(const GatedDeltaRuleInputs& inputs, Saved& saved, Stream stream) {
  const KernelSizes sizes = sizes_of(inputs);
  const Device device = inputs.q.device();
  saved.decay = Tensor::empty({sizes.tokens, sizes.value_heads}, DType::kFloat32, device);
  saved.solve = Tensor::empty({sizes.slots(), sizes.value_heads, kChunk, kChunk}, DType::kBFloat16, device);
  const PrepareParameters parameters{.sizes = sizes,
                                     .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>(),
                                     .k = inputs.k.data<bfloat16>(),
                                     .g = inputs.g.data<float>(),
                                     .beta = inputs.beta.data<float>(),
                                     .decay = saved.decay.data<float>(),
                                     .solve = saved.solve.data<bfloat16>()};
  const dim3 grid(static_cast<unsigned>(sizes.slots()) * static_cast<unsigned>(sizes.value_heads));
  dispatch_key_dim(sizes.key_dim, [&]<int kKeyDim>() {
    launch(prepare_kernel<kKeyDim>, grid, kThreads, shared_bytes<kKeyDim>(), stream, parameters);
  });
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
