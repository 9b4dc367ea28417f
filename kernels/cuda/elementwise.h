#pragma once

#include "kernels/cuda/vector_io.h"

namespace mudelta::kernels::cuda {

template <class Op>
__global__ void __launch_bounds__(256) elementwise_kernel(std::int64_t count, bool is_aligned, Op op) {
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t i = thread * Op::kRunLength;
  if (i >= count) return;
  if (is_aligned && count - i >= Op::kRunLength) {
    op(i, WholeRun{});
  } else {
    op(i, count - i);
  }
}

// op(i, rest) on the device for every run of Op::kRunLength of `count` elements: from element i, `rest` are left.
// op.is_aligned() on the host: whether all its arrays are.
template <class Op>
void for_each_run(std::int64_t count, Stream stream, const Op& op) {
  constexpr int kThreads = 256;
  const std::int64_t blocks = divide_up(count, std::int64_t{kThreads} * Op::kRunLength);
  launch(elementwise_kernel<Op>, dim3(static_cast<unsigned>(blocks)), kThreads, 0, stream, count, op.is_aligned(), op);
}

}  // namespace mudelta::kernels::cuda
