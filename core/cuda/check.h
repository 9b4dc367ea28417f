#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <string_view>

// Evaluates a call into the CUDA runtime (cuBLASLt) and throws Error with its text unless it succeeded.
#define MUDELTA_CUDA(call) ::mudelta::gpu::check_cuda((call), #call)
#define MUDELTA_CUBLAS(call) ::mudelta::gpu::check_cublas((call), #call)

namespace mudelta::gpu {

void check_cuda(cudaError_t status, std::string_view call);
void check_cublas(cublasStatus_t status, std::string_view call);

}  // namespace mudelta::gpu
