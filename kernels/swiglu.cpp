#include "kernels/swiglu.h"

#include "kernels/check.h"
#include "kernels/cuda_twin.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/swiglu.cpp"
#include "hwy/foreach_target.h"
#include "kernels/simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

template <class T>
void forward_arrays(std::int64_t count, const T* gate, const T* up, T* y) {
  parallel_for_each_vector(count, [=](std::int64_t i, auto lanes) {
    const auto z = load(gate + i, lanes);
    store(hn::Mul(hn::Mul(z, sigmoid(z)), load(up + i, lanes)), y + i, lanes);
  });
}

template <class T>
void backward_arrays(std::int64_t count, const T* gate, const T* up, const T* dy, T* dgate, T* dup) {
  parallel_for_each_vector(count, [=](std::int64_t i, auto lanes) {
    const auto z = load(gate + i, lanes), s = sigmoid(z), dvalue = load(dy + i, lanes);
    const auto dsilu = hn::Mul(dvalue, load(up + i, lanes));
    store(hn::Mul(dsilu, silu_derivative(z, s)), dgate + i, lanes);
    store(hn::Mul(dvalue, hn::Mul(z, s)), dup + i, lanes);
  });
}

void forward(const Tensor& gate, const Tensor& up, const Tensor& y) {
  dispatch_float(y.dtype(), [&]<class T>() { forward_arrays(y.numel(), gate.data<T>(), up.data<T>(), y.data<T>()); });
}

void backward(const Tensor& gate, const Tensor& up, const Tensor& dy, const Tensor& dgate, const Tensor& dup) {
  dispatch_float(dy.dtype(), [&]<class T>() {
    backward_arrays(dy.numel(), gate.data<T>(), up.data<T>(), dy.data<T>(), dgate.data<T>(), dup.data<T>());
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

}  // namespace

void swiglu_forward(const Tensor& gate, const Tensor& up, const Tensor& y, Stream stream) {
  constexpr auto kOp = "swiglu_forward";
  expect_floating(kOp, "gate", gate);
  expect_tensor(kOp, "up", up, gate.shape(), gate.dtype());
  expect_tensor(kOp, "y", y, gate.shape(), gate.dtype());
  if (y.device().is_cuda()) return cuda_twin<swiglu_forward>()(gate, up, y, stream);
  HWY_DYNAMIC_DISPATCH(forward)(gate, up, y);
}

void swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy, const Tensor& dgate, const Tensor& dup,
                     Stream stream) {
  constexpr auto kOp = "swiglu_backward";
  expect_floating(kOp, "gate", gate);
  expect_tensor(kOp, "up", up, gate.shape(), gate.dtype());
  expect_tensor(kOp, "dy", dy, gate.shape(), gate.dtype());
  expect_tensor(kOp, "dgate", dgate, gate.shape(), gate.dtype());
  expect_tensor(kOp, "dup", dup, gate.shape(), gate.dtype());
  if (dy.device().is_cuda()) return cuda_twin<swiglu_backward>()(gate, up, dy, dgate, dup, stream);
  HWY_DYNAMIC_DISPATCH(backward)(gate, up, dy, dgate, dup);
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
