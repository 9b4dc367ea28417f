#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/simt.h"

namespace mudelta::kernels::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarpSize;

// A block sums 32 columns; warp w takes rows w, w + kWarps, ...
__global__ void __launch_bounds__(kThreads)
    add_column_sums_kernel(const float* partials, std::int64_t rows, std::int64_t n, float* total) {
  float* warp_sums = dynamic_shared<float>();  // [kWarps, 32]
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kWarpSize + lane_index();
  float sum = 0;
  if (column < n) {
    for (std::int64_t row = warp_index(); row < rows; row += kWarps) sum += partials[row * n + column];
  }
  warp_sums[threadIdx.x] = sum;
  __syncthreads();
  if (warp_index() != 0 || column >= n) return;
  for (int warp = 1; warp < kWarps; ++warp) sum += warp_sums[warp * kWarpSize + lane_index()];
  total[column] += sum;
}

}  // namespace

void add_column_sums(const Tensor& partials, const Tensor& total, Stream stream) {
  const std::int64_t rows = partials.size(0), n = partials.size(1);
  launch(add_column_sums_kernel, dim3(static_cast<unsigned>(divide_up(n, kWarpSize))), kThreads,
         kThreads * sizeof(float), stream, partials.data<float>(), rows, n, total.data<float>());
}

}  // namespace mudelta::kernels::cuda
