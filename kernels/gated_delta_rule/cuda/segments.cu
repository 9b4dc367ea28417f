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

// What a pass forward and one backward cost, in steps of `scan` over one chunk of 64 value columns, with every sequence
// (all count as equally long, since the host does not know their lengths) in so many segments. Instructions of the
// kernels give the cost of a step of each; it has not been measured.
class SegmentCost {
 public:
  SegmentCost(const KernelSizes& sizes, std::int64_t chunks, int multiprocessors)
      : heads_(static_cast<std::int64_t>(sizes.sequences) * sizes.value_heads),
        value_slabs_(divide_up(sizes.value_dim, kSlab)),
        key_slabs_(divide_up(sizes.key_dim, kSlab)),
        chunks_(chunks),
        multiprocessors_(multiprocessors) {}

  double of(std::int64_t segments) const {
    constexpr double kSegmentStep = 0.45, kBackwardStep = 0.8, kSegmentBackwardStep = 0.6;
    constexpr double kCarry = 0.8, kLaunches = 2;  // of a state to the next segment; of two launches more a pass
    const auto chunks = static_cast<double>(divide_up(chunks_, segments));
    const double scans = chunks * waves(segments * value_slabs_) * (1 + kBackwardStep);
    if (segments == 1) return scans;
    const std::int64_t middle = segments - 2;
    const double states = chunks * waves((segments - 1) * value_slabs_ + middle * key_slabs_) * kSegmentStep;
    const double dstates = chunks * waves((segments - 1) * value_slabs_) * kSegmentBackwardStep;
    return scans + states + dstates + 2 * (static_cast<double>(middle) * kCarry + kLaunches);
  }

 private:
  static constexpr std::int64_t kSlab = 64;

  // Of blocks with a slab each of every value head: side by side while each has a multiprocessor, else two on each, or
  // one of twice the width.
  double waves(std::int64_t slabs) const {
    constexpr double kPair = 1.3;  // what two take of one's time
    const std::int64_t blocks = heads_ * slabs;
    return blocks <= multiprocessors_ ? 1 : kPair * static_cast<double>(divide_up(blocks, 2 * multiprocessors_));
  }

  std::int64_t heads_, value_slabs_, key_slabs_, chunks_;
  int multiprocessors_;
};

}  // namespace

int choose_segment_chunks(const KernelSizes& sizes, int multiprocessors) {
  constexpr std::int64_t kLeastChunks = 32, kLeastSegmentChunks = 4;
  constexpr double kWorthIt = 0.9;  // segments take memory, and the costs are no more exact
  if (sizes.sequences == 0) return 0;
  const std::int64_t chunks = divide_up(sizes.tokens, static_cast<std::int64_t>(kChunk) * sizes.sequences);
  if (chunks < kLeastChunks) return 0;
  const SegmentCost cost(sizes, chunks, multiprocessors);
  std::int64_t best = 1;
  // More segments than fill all multiprocessors twice gain nothing.
  const std::int64_t most = std::min<std::int64_t>(2 * multiprocessors, chunks / kLeastSegmentChunks);
  for (std::int64_t segments = 2; segments <= most; ++segments) {
    if (cost.of(segments) < cost.of(best)) best = segments;
  }
  const bool is_worth_it = cost.of(best) < kWorthIt * cost.of(1);
  return is_worth_it ? static_cast<int>(divide_up(chunks, best)) : 0;
}

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
