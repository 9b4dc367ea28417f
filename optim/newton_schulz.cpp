#include "optim/newton_schulz.h"

#include <algorithm>
#include <span>

#include "core/error.h"
#include "core/gemm.h"
#include "core/gemm_workspace.h"
#include "kernels/elementwise.h"
#include "kernels/newton_schulz.h"
#include "kernels/reduce.h"

namespace mudelta {
namespace {

using kernels::MatrixPolynomial;

// Of each iteration; those beyond the last are as the last.
struct Coefficients {
  std::span<const MatrixPolynomial> of_iteration;
  float norm_factor;  // x is taken to be so much larger than its norm: rounding leaves no singular value above 1
};

Coefficients coefficients(MuonConfig::Coefficients kind) {
  static constexpr MatrixPolynomial kSimple[] = {{3.4445f, -4.7750f, 2.0315f}};
  static constexpr MatrixPolynomial kPolarExpress[] = {
      {8.1566f, -22.4833f, 15.8788f}, {4.0429f, -2.8089f, 0.5000f},
      {3.8917f, -2.7725f, 0.5061f},   {3.2858f, -2.3681f, 0.4645f},
      {2.3465f, -1.7098f, 0.4232f},   {1.875f, -1.25f, 0.375f}};  // towards 1 from near it
  switch (kind) {
    case MuonConfig::SIMPLE: return {kSimple, 1.0f};
    case MuonConfig::POLAR_EXPRESS: return {kPolarExpress, 1.01f};
  }
  fail("[orthogonalize] unknown coefficients {}", static_cast<int>(kind));
}

DType working_dtype(const MuonConfig& config) {
  return config.orthogonalize_dtype() == MuonConfig::BFLOAT16 ? DType::kBFloat16 : DType::kFloat32;
}

}  // namespace

void orthogonalize(const Tensor& x, const MuonConfig& config, const Tensor& square_sum, Stream stream) {
  require(x.defined() && x.shape().rank() == 2 && x.dtype() == DType::kFloat32,
          "[orthogonalize] x: expected a float32 matrix, got {}", x.to_string());
  if (x.numel() == 0) return;
  const auto [polynomials, norm_factor] = coefficients(config.coefficients());
  const DType dtype = working_dtype(config);
  const bool is_tall = x.shape()[0] > x.shape()[1];
  const std::int64_t n = std::min(x.shape()[0], x.shape()[1]);

  square_sum.fill_zero();
  kernels::add_sum_of_squares(x, 1.0, square_sum, stream);
  Tensor now = Tensor::empty(x.shape(), dtype, x.device()), next = Tensor::empty(x.shape(), dtype, x.device());
  const Tensor gram = Tensor::empty({n, n}, dtype, x.device()), square = Tensor::empty({n, n}, dtype, x.device());
  kernels::divide_by_norm(x, square_sum, norm_factor, now, stream);
  for (int i = 0; i < config.iterations(); ++i) {
    gemm(now, now, gram, {.transpose_a = is_tall, .transpose_b = !is_tall}, stream);
    gemm(gram, gram, square, {}, stream);
    const std::size_t at = std::min(static_cast<std::size_t>(i), polynomials.size() - 1);
    kernels::matrix_polynomial(polynomials[at], gram, square, square, stream);
    if (is_tall) {
      gemm(now, square, next, {}, stream);
    } else {
      gemm(square, now, next, {}, stream);
    }
    std::swap(now, next);
  }
  kernels::convert(now, x, stream);
}

double orthogonalize_flops(std::int64_t rows, std::int64_t cols, const MuonConfig& config) {
  const auto n = static_cast<double>(std::min(rows, cols)), other = static_cast<double>(std::max(rows, cols));
  return config.iterations() * 2 * (2 * n * n * other + n * n * n);
}

LiveTensors orthogonalize_workspace(std::int64_t rows, std::int64_t cols, const MuonConfig& config, Device device) {
  const DType dtype = working_dtype(config);
  const std::int64_t n = std::min(rows, cols), other = std::max(rows, cols);
  LiveTensors live;
  for (int i = 0; i < 2; ++i) {
    live.add({rows, cols}, dtype);
    live.add({n, n}, dtype);
  }
  return live +
         larger(gemm_workspace(n, n, other, dtype, dtype, device), gemm_workspace(rows, cols, n, dtype, dtype, device));
}

}  // namespace mudelta
