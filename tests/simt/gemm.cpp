// gpu::gemm of the emulated device: plain loops.

#include "core/gemm.h"

#include <vector>

#include "core/gemm_workspace.h"
#include "core/gpu.h"
#include "simt/device_memory.h"
#include "simt/stream.h"

namespace mudelta::gpu {
namespace {

// A tensor's address and form: a recorded product must not own its operands.
struct Matrix {
  explicit Matrix(const Tensor& tensor)
      : data(tensor.raw()), dtype(tensor.dtype()), rows(tensor.size(0)), columns(tensor.size(1)) {}
  std::byte* data;
  DType dtype;
  std::int64_t rows, columns;
};

// op(matrix) as float32, row by row.
std::vector<float> operand(const Matrix& matrix, bool transpose) {
  std::vector<float> wide(static_cast<std::size_t>(matrix.rows * matrix.columns));
  dispatch_float(matrix.dtype, [&]<class T>() {
    const T* source = reinterpret_cast<const T*>(matrix.data);
    for (std::int64_t i = 0; i < matrix.rows; ++i) {
      for (std::int64_t j = 0; j < matrix.columns; ++j) {
        wide[static_cast<std::size_t>(transpose ? j * matrix.rows + i : i * matrix.columns + j)] =
            static_cast<float>(source[i * matrix.columns + j]);
      }
    }
  });
  return wide;
}

void multiply(const Matrix& a, const Matrix& b, const Matrix& c, const GemmOptions& options) {
  const simt::DeviceMemoryAccess access;
  const std::int64_t m = c.rows, n = c.columns, k = options.transpose_a ? a.rows : a.columns;
  const std::vector<float> left = operand(a, options.transpose_a);
  const std::vector<float> right = operand(b, options.transpose_b);
  dispatch_float(c.dtype, [&]<class T>() {
    T* out = reinterpret_cast<T*>(c.data);
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

}  // namespace

void gemm(const Tensor& a, const Tensor& b, const Tensor& c, const GemmOptions& options, StreamHandle stream) {
  simt::enqueue(stream, [a = Matrix(a), b = Matrix(b), c = Matrix(c), options] { multiply(a, b, c, options); });
}

std::int64_t gemm_workspace_bytes() { return 0; }

}  // namespace mudelta::gpu
