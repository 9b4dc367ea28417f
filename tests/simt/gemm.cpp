// gpu::gemm of the emulated device: plain loops.

#include "core/gemm.h"

#include <vector>

#include "core/gpu.h"
#include "simt/device_memory.h"

namespace mudelta::gpu {
namespace {

// op(matrix) as float32, row by row.
std::vector<float> operand(const Tensor& matrix, bool transpose) {
  const std::int64_t rows = matrix.size(0), columns = matrix.size(1);
  std::vector<float> wide(static_cast<std::size_t>(rows * columns));
  dispatch_float(matrix.dtype(), [&]<class T>() {
    const T* source = matrix.data<T>();
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < columns; ++j) {
        wide[static_cast<std::size_t>(transpose ? j * rows + i : i * columns + j)] =
            static_cast<float>(source[i * columns + j]);
      }
    }
  });
  return wide;
}

}  // namespace

void gemm(const Tensor& a, const Tensor& b, const Tensor& c, const GemmOptions& options, StreamHandle) {
  const simt::DeviceMemoryAccess access;
  const std::int64_t m = c.size(0), n = c.size(1), k = a.size(options.transpose_a ? 0 : 1);
  const std::vector<float> left = operand(a, options.transpose_a);
  const std::vector<float> right = operand(b, options.transpose_b);
  dispatch_float(c.dtype(), [&]<class T>() {
    T* out = c.data<T>();
#pragma omp parallel for
    for (std::int64_t i = 0; i < m; ++i) {
      std::vector<float> row(static_cast<std::size_t>(n));
      for (std::int64_t l = 0; l < k; ++l) {
        const float factor = left[static_cast<std::size_t>(i * k + l)];
        const float* right_row = right.data() + l * n;
        for (std::int64_t j = 0; j < n; ++j) row[static_cast<std::size_t>(j)] += factor * right_row[j];
      }
      for (std::int64_t j = 0; j < n; ++j) {
        const float before = options.accumulate ? static_cast<float>(out[i * n + j]) : 0.0f;
        out[i * n + j] = static_cast<T>(before + row[static_cast<std::size_t>(j)]);
      }
    }
  });
}

}  // namespace mudelta::gpu
