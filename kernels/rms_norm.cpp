#include "kernels/rms_norm.h"

#include <cmath>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rms_norm.cpp"
#include "hwy/foreach_target.h"
#include "kernels/simd/math-inl.h"

// With n = x rstd weight and dn the gradient of n, one row's gradients are
//   dx = rstd (weight dn) - x rstd^3 / dim sum(weight dn x),   dweight += dn x rstd.
HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

template <class T>
float reciprocal_rms(const T* x, std::int64_t dim, float eps) {
  FloatVec squares = hn::Zero(kFloatTag);
  for_each_vector(dim, [&](std::int64_t i, auto lanes) {
    const auto value = load(x + i, lanes);
    squares = hn::MulAdd(value, value, squares);
  });
  return 1.0f / std::sqrt(sum_of_lanes(squares) / static_cast<float>(dim) + eps);
}

// Writes y and returns rstd.
template <class X, class Y>
float forward_row(const X* x, const float* gain, std::int64_t dim, float eps, Y* y) {
  const float rstd = reciprocal_rms(x, dim, eps);
  for_each_vector(dim, [&](std::int64_t i, auto lanes) {
    const auto unit = hn::Mul(load(x + i, lanes), broadcast(rstd));
    store(hn::Mul(unit, load(gain + i, lanes)), y + i, lanes);
  });
  return rstd;
}

template <class T>
float gated_forward_row(const T* x, const T* gate, const float* gain, std::int64_t dim, float eps, T* y) {
  const float rstd = reciprocal_rms(x, dim, eps);
  for_each_vector(dim, [&](std::int64_t i, auto lanes) {
    const auto unit = hn::Mul(load(x + i, lanes), broadcast(rstd));
    const auto z = load(gate + i, lanes);
    store(hn::Mul(hn::Mul(unit, load(gain + i, lanes)), hn::Mul(z, sigmoid(z))), y + i, lanes);
  });
  return rstd;
}

// dresidual may be null. dgain is added to.
template <class X, class Y>
void backward_row(const X* x, const float* gain, float rstd, const Y* dy, const X* dresidual, std::int64_t dim, X* dx,
                  float* dgain) {
  FloatVec products = hn::Zero(kFloatTag);
  for_each_vector(dim, [&](std::int64_t i, auto lanes) {
    const auto dn_x = hn::Mul(load(dy + i, lanes), load(x + i, lanes));
    products = hn::MulAdd(dn_x, load(gain + i, lanes), products);
    store(hn::MulAdd(dn_x, broadcast(rstd), load(dgain + i, lanes)), dgain + i, lanes);
  });
  const float along_x = rstd * rstd * rstd * sum_of_lanes(products) / static_cast<float>(dim);
  for_each_vector(dim, [&](std::int64_t i, auto lanes) {
    const auto scaled = hn::Mul(hn::Mul(load(dy + i, lanes), load(gain + i, lanes)), broadcast(rstd));
    auto gradient = hn::NegMulAdd(load(x + i, lanes), broadcast(along_x), scaled);
    if (dresidual != nullptr) gradient = hn::Add(gradient, load(dresidual + i, lanes));
    store(gradient, dx + i, lanes);
  });
}

// `dn` is room for one row. dgain is added to.
template <class T>
void gated_backward_row(const T* x, const T* gate, const float* gain, float rstd, const T* dy, std::int64_t dim, T* dx,
                        T* dgate, float* dgain, float* dn) {
  for_each_vector(dim, [&](std::int64_t i, auto lanes) {
    const auto z = load(gate + i, lanes), s = sigmoid(z), gradient = load(dy + i, lanes);
    const auto n = hn::Mul(hn::Mul(load(x + i, lanes), broadcast(rstd)), load(gain + i, lanes));
    store(hn::Mul(gradient, hn::Mul(z, s)), dn + i, lanes);
    store(hn::Mul(hn::Mul(gradient, n), silu_derivative(z, s)), dgate + i, lanes);
  });
  backward_row(x, gain, rstd, dn, static_cast<const T*>(nullptr), dim, dx, dgain);
}

void forward(const Tensor& x, const Tensor& weight, float eps, const Tensor& y, const Tensor& rstd) {
  const std::int64_t dim = x.size(1);
  dispatch_float(x.dtype(), [&]<class X>() {
    dispatch_float(y.dtype(), [&]<class Y>() {
      const auto run = [=, x_data = x.data<X>(), gain = weight.data<float>(), y_data = y.data<Y>(),
                        factors = rstd.data<float>()](std::int64_t, std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
          factors[row] = forward_row(x_data + row * dim, gain, dim, eps, y_data + row * dim);
        }
      };
      RowBlocks(x.size(0), dim).for_each(run);
    });
  });
}

void gated_forward(const Tensor& x, const Tensor& gate, const Tensor& weight, float eps, const Tensor& y,
                   const Tensor& rstd) {
  const std::int64_t dim = x.size(1);
  dispatch_float(x.dtype(), [&]<class T>() {
    const auto run = [=, x_data = x.data<T>(), gates = gate.data<T>(), gain = weight.data<float>(),
                      y_data = y.data<T>(),
                      factors = rstd.data<float>()](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t i = row * dim;
        factors[row] = gated_forward_row(x_data + i, gates + i, gain, dim, eps, y_data + i);
      }
    };
    RowBlocks(x.size(0), dim).for_each(run);
  });
}

void backward(const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dy, const Tensor& dresidual,
              const Tensor& dx, const Tensor& dweight) {
  const std::int64_t dim = x.size(1);
  const RowBlocks blocks(x.size(0), dim);
  const Tensor partials = Tensor::zeros({blocks.count(), dim});
  dispatch_float(x.dtype(), [&]<class X>() {
    dispatch_float(dy.dtype(), [&]<class Y>() {
      const X* residual = dresidual.defined() ? dresidual.data<X>() : nullptr;
      const auto run = [=, x_data = x.data<X>(), gain = weight.data<float>(), factors = rstd.data<float>(),
                        dy_data = dy.data<Y>(), dx_data = dx.data<X>(),
                        dgains = partials.data<float>()](std::int64_t block, std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
          const std::int64_t i = row * dim;
          backward_row(x_data + i, gain, factors[row], dy_data + i, residual == nullptr ? nullptr : residual + i, dim,
                       dx_data + i, dgains + block * dim);
        }
      };
      blocks.for_each(run);
    });
  });
  add_partial_sums(partials, dweight);
}

void gated_backward(const Tensor& x, const Tensor& gate, const Tensor& weight, const Tensor& rstd, const Tensor& dy,
                    const Tensor& dx, const Tensor& dgate, const Tensor& dweight) {
  const std::int64_t dim = x.size(1);
  const RowBlocks blocks(x.size(0), dim);
  const Tensor partials = Tensor::zeros({blocks.count(), dim});
  dispatch_float(x.dtype(), [&]<class T>() {
    const auto run = [=, x_data = x.data<T>(), gates = gate.data<T>(), gain = weight.data<float>(),
                      factors = rstd.data<float>(), dy_data = dy.data<T>(), dx_data = dx.data<T>(),
                      dgates = dgate.data<T>(),
                      dgains = partials.data<float>()](std::int64_t block, std::int64_t begin, std::int64_t end) {
      std::vector<float> dn(static_cast<std::size_t>(dim));
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t i = row * dim;
        gated_backward_row(x_data + i, gates + i, gain, factors[row], dy_data + i, dim, dx_data + i, dgates + i,
                           dgains + block * dim, dn.data());
      }
    };
    blocks.for_each(run);
  });
  add_partial_sums(partials, dweight);
}

}  // namespace
}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels {
namespace {

HWY_EXPORT(forward);
HWY_EXPORT(backward);
HWY_EXPORT(gated_forward);
HWY_EXPORT(gated_backward);

void check_common(std::string_view op, const Tensor& x, const Tensor& weight, const Tensor& rstd) {
  expect_floating_matrix(op, "x", x, "[rows, dim]");
  expect_tensor(op, "weight", weight, {x.size(1)}, DType::kFloat32);
  expect_tensor(op, "rstd", rstd, {x.size(0)}, DType::kFloat32);
}

}  // namespace

void rms_norm_forward(const Tensor& x, const Tensor& weight, float eps, const Tensor& y, const Tensor& rstd,
                      Stream stream) {
  constexpr auto kOp = "rms_norm_forward";
  check_common(kOp, x, weight, rstd);
  expect_floating(kOp, "y", y);
  expect_tensor(kOp, "y", y, x.shape(), y.dtype());
  if (x.device().is_cuda()) return cuda_twin<rms_norm_forward>()(x, weight, eps, y, rstd, stream);
  HWY_DYNAMIC_DISPATCH(forward)(x, weight, eps, y, rstd);
}

void rms_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dy,
                       const Tensor& dresidual, const Tensor& dx, const Tensor& dweight, Stream stream) {
  constexpr auto kOp = "rms_norm_backward";
  check_common(kOp, x, weight, rstd);
  expect_floating(kOp, "dy", dy);
  expect_tensor(kOp, "dy", dy, x.shape(), dy.dtype());
  if (dresidual.defined()) expect_tensor(kOp, "dresidual", dresidual, x.shape(), x.dtype());
  expect_tensor(kOp, "dx", dx, x.shape(), x.dtype());
  expect_tensor(kOp, "dweight", dweight, weight.shape(), DType::kFloat32);
  if (x.device().is_cuda()) {
    return cuda_twin<rms_norm_backward>()(x, weight, rstd, dy, dresidual, dx, dweight, stream);
  }
  HWY_DYNAMIC_DISPATCH(backward)(x, weight, rstd, dy, dresidual, dx, dweight);
}

void gated_rms_norm_forward(const Tensor& x, const Tensor& gate, const Tensor& weight, float eps, const Tensor& y,
                            const Tensor& rstd, Stream stream) {
  constexpr auto kOp = "gated_rms_norm_forward";
  check_common(kOp, x, weight, rstd);
  expect_tensor(kOp, "gate", gate, x.shape(), x.dtype());
  expect_tensor(kOp, "y", y, x.shape(), x.dtype());
  if (x.device().is_cuda()) return cuda_twin<gated_rms_norm_forward>()(x, gate, weight, eps, y, rstd, stream);
  HWY_DYNAMIC_DISPATCH(gated_forward)(x, gate, weight, eps, y, rstd);
}

void gated_rms_norm_backward(const Tensor& x, const Tensor& gate, const Tensor& weight, const Tensor& rstd,
                             const Tensor& dy, const Tensor& dx, const Tensor& dgate, const Tensor& dweight,
                             Stream stream) {
  constexpr auto kOp = "gated_rms_norm_backward";
  check_common(kOp, x, weight, rstd);
  expect_tensor(kOp, "gate", gate, x.shape(), x.dtype());
  expect_tensor(kOp, "dy", dy, x.shape(), x.dtype());
  expect_tensor(kOp, "dx", dx, x.shape(), x.dtype());
  expect_tensor(kOp, "dgate", dgate, x.shape(), x.dtype());
  expect_tensor(kOp, "dweight", dweight, weight.shape(), DType::kFloat32);
  if (x.device().is_cuda()) {
    return cuda_twin<gated_rms_norm_backward>()(x, gate, weight, rstd, dy, dx, dgate, dweight, stream);
  }
  HWY_DYNAMIC_DISPATCH(gated_backward)(x, gate, weight, rstd, dy, dx, dgate, dweight);
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
