#include "kernels/newton_schulz.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/newton_schulz.cpp"
#include "hwy/foreach_target.h"
#include "kernels/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

void divide_array(const Tensor& x, float divisor, const Tensor& y) {
  dispatch_float(y.dtype(), [&]<class T>() {
    parallel_for_each_vector(y.numel(), [=, from = x.data<float>(), to = y.data<T>()](std::int64_t i, auto lanes) {
      store(hn::Div(load(from + i, lanes), broadcast(divisor)), to + i, lanes);
    });
  });
}

void polynomial_rows(const MatrixPolynomial& polynomial, const Tensor& x, const Tensor& x2, const Tensor& y) {
  const std::int64_t n = y.shape()[0];
  dispatch_float(y.dtype(), [&]<class T>() {
    const T *linear = x.data<T>(), *square = x2.data<T>();
    T* to = y.data<T>();
    const auto b = broadcast(polynomial.b), c = broadcast(polynomial.c);
    const auto rest = [=](std::int64_t i, auto lanes) {
      return hn::MulAdd(c, load(square + i, lanes), hn::Mul(b, load(linear + i, lanes)));
    };
    RowBlocks(n, n).for_each([&](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t at = row * (n + 1);
        float corner;  // before y overwrites what it is made of
        store(hn::Add(rest(at, FirstLanes{1}), broadcast(polynomial.a)), &corner, FirstLanes{1});
        for_each_vector(row * n, (row + 1) * n, [=](std::int64_t i, auto lanes) { store(rest(i, lanes), to + i, lanes); });
        to[at] = T(corner);
      }
    });
  });
}

}  // namespace
}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels {
namespace {

HWY_EXPORT(divide_array);
HWY_EXPORT(polynomial_rows);

}  // namespace

void divide_by_norm(const Tensor& x, const Tensor& square_sum, float factor, const Tensor& y, Stream stream) {
  constexpr auto kOp = "divide_by_norm";
  expect_tensor(kOp, "x", x, x.shape(), DType::kFloat32);
  expect_tensor(kOp, "square_sum", square_sum, Shape{1}, DType::kFloat64);
  expect_floating(kOp, "y", y);
  expect_tensor(kOp, "y", y, x.shape(), y.dtype());
  if (x.device().is_cuda()) return cuda_twin<divide_by_norm>()(x, square_sum, factor, y, stream);
  const auto norm = static_cast<float>(std::sqrt(*square_sum.data<double>()));
  HWY_DYNAMIC_DISPATCH(divide_array)(x, std::fma(factor, norm, 1e-7f), y);
}

void matrix_polynomial(const MatrixPolynomial& polynomial, const Tensor& x, const Tensor& x2, const Tensor& y,
                       Stream stream) {
  constexpr auto kOp = "matrix_polynomial";
  expect_floating(kOp, "y", y);
  require(y.shape().rank() == 2 && y.shape()[0] == y.shape()[1], "[{}] y: expected a square matrix, got {}", kOp,
          y.to_string());
  expect_tensor(kOp, "x", x, y.shape(), y.dtype());
  expect_tensor(kOp, "x2", x2, y.shape(), y.dtype());
  if (y.device().is_cuda()) return cuda_twin<matrix_polynomial>()(polynomial, x, x2, y, stream);
  HWY_DYNAMIC_DISPATCH(polynomial_rows)(polynomial, x, x2, y);
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
