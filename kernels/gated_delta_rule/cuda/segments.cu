#include <algorithm>
#include <cstdint>

#include "kernels/gated_delta_rule/cuda/chunk.h"
#include "kernels/gated_delta_rule/cuda/launches.h"

// How states and their gradients go from segment to segment of a sequence: in float32, one segment after the other. A
// block has kColumns value columns X [key_dim, kColumns] of one value head. Thread (part, row) sums its part of the
// products of a row, and then adds up the sums of all parts for kColumnsPerPart elements of that row.
namespace mudelta::kernels::cuda::gated_delta_rule {
namespace {

constexpr int kColumns = 16, kParts = 4, kColumnsPerPart = kColumns / kParts;
constexpr int kStride = kColumns + 4;  // of rows in shared memory: 8 rows' vectors lie in 8 groups of 4 banks
constexpr int kStep = 4;               // products at a time

struct CarryParameters {
  KernelSizes sizes;
  int segment_rows;
  const std::int32_t* cu_seqlens;
  const float* transitions;  // [segment slots, value_heads, key_dim, key_dim]
  float* states;             // [segment slots, value_heads, key_dim, value_dim]
};

template <int kKeyDim>
struct CarryLayout {
  static constexpr int kThreads = kParts * kKeyDim, kPartRows = kKeyDim / kParts;
  static constexpr int kBytes = (1 + kParts) * kKeyDim * kStride * static_cast<int>(sizeof(float));
  static_assert(kPartRows % kStep == 0 && kBytes <= kMostSharedBytes);

  float* memory;
  __device__ __forceinline__ float4* state(int row) const { return vectors(row); }
  __device__ __forceinline__ float4* sums(int part, int row) const { return vectors((1 + part) * kKeyDim + row); }

 private:
  __device__ __forceinline__ float4* vectors(int row) const {
    return reinterpret_cast<float4*>(memory + row * kStride);
  }
};

__device__ __forceinline__ void add_product(float4& sum, float a, const float4& x) {
  sum.x = fmaf(a, x.x, sum.x), sum.y = fmaf(a, x.y, sum.y), sum.z = fmaf(a, x.z, sum.z), sum.w = fmaf(a, x.w, sum.w);
}

// Elements [row, k + .] of M, or of M^T for kBackward.
template <int kKeyDim, Direction kDirection>
__device__ __forceinline__ void load_row(float (&m)[kStep], const float* transition, int row, int k) {
  if constexpr (kDirection == Direction::kForward) {
    const float4 vector = *reinterpret_cast<const float4*>(transition + row * kKeyDim + k);
    m[0] = vector.x, m[1] = vector.y, m[2] = vector.z, m[3] = vector.w;
  } else {
#pragma unroll
    for (int j = 0; j < kStep; ++j) m[j] = transition[(k + j) * kKeyDim + row];
  }
}

// Leaves the thread's part of row `row` of M X in layout.sums.
template <int kKeyDim, Direction kDirection>
__device__ __forceinline__ void multiply_part(const CarryLayout<kKeyDim>& layout, const float* transition, int part,
                                              int row) {
  constexpr int kPartRows = CarryLayout<kKeyDim>::kPartRows;
  float4 sum[kColumns / 4] = {};
#pragma unroll 2
  for (int k = part * kPartRows; k < (part + 1) * kPartRows; k += kStep) {
    float m[kStep];
    load_row<kKeyDim, kDirection>(m, transition, row, k);
#pragma unroll
    for (int j = 0; j < kStep; ++j) {
#pragma unroll
      for (int c = 0; c < kColumns / 4; ++c) add_product(sum[c], m[j], layout.state(k + j)[c]);
    }
  }
#pragma unroll
  for (int c = 0; c < kColumns / 4; ++c) layout.sums(part, row)[c] = sum[c];
}

// Block (sequence, value head, slab).
template <int kKeyDim, Direction kDirection>
__global__ void __launch_bounds__(CarryLayout<kKeyDim>::kThreads) carry_kernel(const CarryParameters p) {
  constexpr bool kForward = kDirection == Direction::kForward;
  const CarryLayout<kKeyDim> layout{dynamic_shared<float>()};
  const int value_heads = p.sizes.value_heads, value_dim = p.sizes.value_dim, slabs = value_dim / kColumns;
  const int sequence = static_cast<int>(blockIdx.x) / slabs / value_heads;
  const int value_head = static_cast<int>(blockIdx.x) / slabs % value_heads;
  const int row = static_cast<int>(threadIdx.x) % kKeyDim, part = static_cast<int>(threadIdx.x) / kKeyDim;
  const int column = static_cast<int>(blockIdx.x) % slabs * kColumns + part * kColumnsPerPart;

  const int length = p.cu_seqlens[sequence + 1] - p.cu_seqlens[sequence];
  const int steps = static_cast<int>(divide_up(length, p.segment_rows)) - 2;
  if (steps <= 0) return;
  const int slot = first_slot(p.cu_seqlens, sequence, p.segment_rows);
  const auto matrix_of = [&](int segment) {
    return static_cast<std::int64_t>(slot + segment) * value_heads + value_head;
  };
  const auto elements_of = [&](int segment) {
    return reinterpret_cast<float4*>(p.states + (matrix_of(segment) * kKeyDim + row) * value_dim + column);
  };

  int segment = kForward ? 1 : steps;
  float4 x = *elements_of(segment);
  for (int step = 0; step < steps; ++step) {
    const float* transition = p.transitions + matrix_of(segment) * kKeyDim * kKeyDim;
    segment += kForward ? 1 : -1;
    const float4 local = *elements_of(segment);
    layout.state(row)[part] = x;
    __syncthreads();
    multiply_part<kKeyDim, kDirection>(layout, transition, part, row);
    __syncthreads();
    x = local;
#pragma unroll
    for (int i = 0; i < kParts; ++i) add_product(x, 1.0f, layout.sums(i, row)[part]);
    *elements_of(segment) = x;
  }
}

}  // namespace

void carry_states(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& states, Direction direction,
                  Stream stream) {
  const CarryParameters parameters{.sizes = sizes_of(inputs),
                                   .segment_rows = segment_rows(saved),
                                   .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>(),
                                   .transitions = saved.transitions.data<float>(),
                                   .states = states.data<float>()};
  const KernelSizes& sizes = parameters.sizes;
  const dim3 grid(static_cast<unsigned>(static_cast<std::int64_t>(sizes.sequences) * sizes.value_heads *
                                        (sizes.value_dim / kColumns)));
  dispatch_key_dim(sizes.key_dim, [&]<int kKeyDim>() {
    const auto kernel = direction == Direction::kForward ? carry_kernel<kKeyDim, Direction::kForward>
                                                         : carry_kernel<kKeyDim, Direction::kBackward>;
    launch(kernel, grid, CarryLayout<kKeyDim>::kThreads, CarryLayout<kKeyDim>::kBytes, stream, parameters);
  });
}

}  // namespace mudelta::kernels::cuda::gated_delta_rule
