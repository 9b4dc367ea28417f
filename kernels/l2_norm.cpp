#include "kernels/l2_norm.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/l2_norm.cpp"
#include "hwy/foreach_target.h"
#include "kernels/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

// Writes y and returns rstd.
template <class T>
float forward_row(const T* x, std::int64_t dim, float eps, T* y) {
  FloatVec squares = hn::Zero(kFloatTag);
  for_each_vector(dim, [&](std::int64_t i, auto lanes) {
    const auto value = load(x + i, lanes);
    squares = hn::MulAdd(value, value, squares);
  });
  const float rstd = 1.0f / std::sqrt(sum_of_lanes(squares) + eps);
  for_each_vector(
      dim, [&](std::int64_t i, auto lanes) { store(hn::Mul(load(x + i, lanes), broadcast(rstd)), y + i, lanes); });
  return rstd;
}

template <class T>
void backward_row(const T* y, float rstd, const T* dy, std::int64_t dim, T* dx) {
  FloatVec products = hn::Zero(kFloatTag);
  for_each_vector(dim, [&](std::int64_t i, auto lanes) {
    products = hn::MulAdd(load(y + i, lanes), load(dy + i, lanes), products);
  });
  const auto y_dot_dy = broadcast(sum_of_lanes(products));
  for_each_vector(dim, [&](std::int64_t i, auto lanes) {
    const auto tangent = hn::NegMulAdd(load(y + i, lanes), y_dot_dy, load(dy + i, lanes));
    store(hn::Mul(tangent, broadcast(rstd)), dx + i, lanes);
  });
}

void forward(const Tensor& x, float eps, const Tensor& y, const Tensor& rstd) {
  const std::int64_t dim = x.size(-1);
  dispatch_float(x.dtype(), [&]<class T>() {
    const auto run = [=, x_data = x.data<T>(), y_data = y.data<T>(), factors = rstd.data<float>()](
                         std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        factors[row] = forward_row(x_data + row * dim, dim, eps, y_data + row * dim);
      }
    };
    RowBlocks(rstd.numel(), dim).for_each(run);
  });
}

void backward(const Tensor& y, const Tensor& rstd, const Tensor& dy, const Tensor& dx) {
  const std::int64_t dim = y.size(-1);
  dispatch_float(y.dtype(), [&]<class T>() {
    const auto run = [=, y_data = y.data<T>(), factors = rstd.data<float>(), dy_data = dy.data<T>(),
                      dx_data = dx.data<T>()](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        backward_row(y_data + row * dim, factors[row], dy_data + row * dim, dim, dx_data + row * dim);
      }
    };
    RowBlocks(rstd.numel(), dim).for_each(run);
  });
}

}  // namespace
}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels {
namespace {

HWY_EXPORT(forward);
HWY_EXPORT(backward);

// The shape of `x` without its last dimension.
Shape row_shape(std::string_view op, std::string_view name, const Tensor& x) {
  expect_floating(op, name, x);
  if (x.shape().rank() < 1) fail("[{}] {}: expected at least one dimension, got {}", op, name, x.to_string());
  return Shape(x.shape().sizes().first(x.shape().sizes().size() - 1));
}

}  // namespace

void l2_norm_forward(const Tensor& x, float eps, const Tensor& y, const Tensor& rstd, Stream stream) {
  constexpr auto kOp = "l2_norm_forward";
  expect_tensor(kOp, "rstd", rstd, row_shape(kOp, "x", x), DType::kFloat32);
  expect_tensor(kOp, "y", y, x.shape(), x.dtype());
  if (x.device().is_cuda()) return cuda_twin<l2_norm_forward>()(x, eps, y, rstd, stream);
  HWY_DYNAMIC_DISPATCH(forward)(x, eps, y, rstd);
}

void l2_norm_backward(const Tensor& y, const Tensor& rstd, const Tensor& dy, const Tensor& dx, Stream stream) {
  constexpr auto kOp = "l2_norm_backward";
  expect_tensor(kOp, "rstd", rstd, row_shape(kOp, "y", y), DType::kFloat32);
  expect_tensor(kOp, "dy", dy, y.shape(), y.dtype());
  expect_tensor(kOp, "dx", dx, y.shape(), y.dtype());
  if (y.device().is_cuda()) return cuda_twin<l2_norm_backward>()(y, rstd, dy, dx, stream);
  HWY_DYNAMIC_DISPATCH(backward)(y, rstd, dy, dx);
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
