#include <algorithm>

#include "kernels/cuda/vector_io.h"
#include "kernels/reduce.h"

namespace mudelta::kernels::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarpSize;
constexpr std::int64_t kMaxBlocks = 1024;

// Over the block, in a fixed order; only thread 0 gets it. `room` is shared memory [kWarps].
__device__ double block_sum(double x, double* room) {
  x = warp_sum(x);
  if (lane_index() == 0) room[warp_index()] = x;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kWarps; ++warp) x += room[warp];
  }
  return x;
}

template <bool kSquare, class T>
__global__ void __launch_bounds__(kThreads) block_sums_kernel(const T* x, std::int64_t count, double* block_sums) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads * kRun;
  double sum = 0;
  for (std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kRun; i < count;
       i += stride) {
    float values[kRun];
    load(x + i, count - i, values);
    for (const float narrow : values) {
      const double value = narrow;
      sum += kSquare ? value * value : value;
    }
  }
  sum = block_sum(sum, dynamic_shared<double>());
  if (threadIdx.x == 0) block_sums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    add_block_sums_kernel(const double* block_sums, int count, double weight, double* total) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) sum += block_sums[i];
  sum = block_sum(sum, dynamic_shared<double>());
  if (threadIdx.x == 0) *total += weight * sum;
}

template <bool kSquare>
void add(const Tensor& x, double weight, const Tensor& total, Stream stream) {
  // Two runs a thread, so that there are blocks enough for small tensors too.
  const std::int64_t blocks = std::min(divide_up(x.numel(), 2 * kThreads * kRun), kMaxBlocks);
  if (blocks == 0) return;
  const Tensor block_sums = Tensor::empty({blocks}, DType::kFloat64, x.device());
  dispatch_float(x.dtype(), [&]<class T>() {
    launch(block_sums_kernel<kSquare, T>, dim3(static_cast<unsigned>(blocks)), kThreads, kWarps * sizeof(double),
           stream, x.data<T>(), x.numel(), block_sums.data<double>());
  });
  launch(add_block_sums_kernel, dim3(1), kThreads, kWarps * sizeof(double), stream, block_sums.data<double>(), blocks,
         weight, total.data<double>());
}

}  // namespace

void add_sum(const Tensor& x, const Tensor& total, Stream stream) { add<false>(x, 1, total, stream); }

void add_sum_of_squares(const Tensor& x, double weight, const Tensor& total, Stream stream) {
  add<true>(x, weight, total, stream);
}

}  // namespace mudelta::kernels::cuda
