#include "core/gemm.h"

#include <string_view>

#include "core/error.h"
#include "core/gemm_onednn.h"
#include "core/gemm_simd.h"

namespace mudelta {
namespace {

// Throws Error unless the matrices fit together.
GemmProblem checked_problem(const Tensor& a, const Tensor& b, const Tensor& c, GemmOptions options) {
  const auto refuse = [&](std::string_view expectation) {
    fail("[gemm] expected {}, got a {}, b {}, c {} (transpose_a {}, transpose_b {}, accumulate {})", expectation,
         a.to_string(), b.to_string(), c.to_string(), options.transpose_a, options.transpose_b, options.accumulate);
  };
  if (a.shape().rank() != 2 || b.shape().rank() != 2 || c.shape().rank() != 2) refuse("matrices");
  const GemmProblem p{a.size(options.transpose_a ? 1 : 0), b.size(options.transpose_b ? 0 : 1),
                      a.size(options.transpose_a ? 0 : 1), options};
  if (b.size(options.transpose_b ? 1 : 0) != p.k || c.size(0) != p.m || c.size(1) != p.n) {
    refuse("op(a) [M, K], op(b) [K, N], c [M, N]");
  }
  const bool floating = a.dtype() == DType::kFloat32 || a.dtype() == DType::kBFloat16;
  if (a.dtype() != b.dtype() || !floating) refuse("operands of one floating dtype");
  const bool narrow_c = c.dtype() == DType::kBFloat16 && a.dtype() == DType::kBFloat16 && !options.accumulate;
  if (c.dtype() != DType::kFloat32 && !narrow_c) refuse("c float32, or bfloat16 written from bfloat16 operands");
  if (a.device().is_cuda() != c.device().is_cuda() || b.device().is_cuda() != c.device().is_cuda()) {
    refuse("matrices on one device");
  }
  return p;
}

}  // namespace

void gemm(const Tensor& a, const Tensor& b, const Tensor& c, GemmOptions options, Stream stream) {
  const GemmProblem p = checked_problem(a, b, c, options);
  if (p.m == 0 || p.n == 0) return;
  if (p.k == 0) {
    if (!options.accumulate) c.fill_zero();
    return;
  }
  if (c.device().is_cuda()) {
    require(stream.device().is_cuda(), "[gemm] matrices on a GPU were given a stream of {}",
            stream.device().to_string());
    return gpu::gemm(a, b, c, options, stream.handle());
  }
  if (a.dtype() == DType::kBFloat16 && onednn::has_fast_bfloat16()) return onednn::gemm_bfloat16(a, b, c, p);
  if (c.dtype() == DType::kFloat32) return simd::gemm(a, b, c, p);
  const Tensor wide = Tensor::empty(c.shape());
  simd::gemm(a, b, wide, p);
  c.copy_from(wide.to(DType::kBFloat16));
}

void linear_backward(const Tensor& x, const Tensor& w, const Tensor& dy, const Tensor& dx, bool accumulate_dx,
                     const Tensor& dw, Stream stream) {
  if (dx.defined()) gemm(dy, w, dx, {.accumulate = accumulate_dx}, stream);
  gemm(dy, x, dw, {.transpose_a = true, .accumulate = true}, stream);
}

}  // namespace mudelta
