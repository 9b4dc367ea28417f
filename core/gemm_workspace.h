#pragma once

#include <cstdint>

#include "core/device.h"
#include "core/live_tensors.h"

namespace mudelta {

// What gemm() (core/gemm.h) allocates while it makes c [m, n] of `result` from operands with k products an element.
LiveTensors gemm_workspace(std::int64_t m, std::int64_t n, std::int64_t k, DType operands, DType result, Device device);

// The largest of linear_backward()'s: x [tokens, in], weight [out, in] and dy of `operands`, dx of `dx`.
LiveTensors linear_backward_workspace(std::int64_t tokens, std::int64_t in, std::int64_t out, DType operands, DType dx,
                                      Device device);

namespace gpu {
inline constexpr std::int64_t kCublasWorkspaceBytes = 32 * 1024 * 1024;  // what NVIDIA advises for Hopper
std::int64_t gemm_workspace_bytes();  // of gpu::gemm; a program without CUDA tells what one with CUDA takes
}

}  // namespace mudelta
