#include "kernels/elementwise.h"

#include "kernels/check.h"
#include "kernels/cuda_twin.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise.cpp"
#include "hwy/foreach_target.h"
#include "kernels/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

void add_arrays(const Tensor& x, const Tensor& y) {
  dispatch_float(x.dtype(), [&]<class T>() {
    parallel_for_each_vector(y.numel(), [from = x.data<T>(), to = y.data<float>()](std::int64_t i, auto lanes) {
      store(hn::Add(load(to + i, lanes), load(from + i, lanes)), to + i, lanes);
    });
  });
}

void scale_array(const Tensor& y, float factor) {
  parallel_for_each_vector(y.numel(), [to = y.data<float>(), factor](std::int64_t i, auto lanes) {
    store(hn::Mul(load(to + i, lanes), broadcast(factor)), to + i, lanes);
  });
}

void convert_array(const Tensor& x, const Tensor& y) {
  dispatch_float(x.dtype(), [&]<class From>() {
    dispatch_float(y.dtype(), [&]<class To>() {
      parallel_for_each_vector(y.numel(), [from = x.data<From>(), to = y.data<To>()](std::int64_t i, auto lanes) {
        store(load(from + i, lanes), to + i, lanes);
      });
    });
  });
}

}  // namespace
}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels {
namespace {

HWY_EXPORT(add_arrays);
HWY_EXPORT(scale_array);
HWY_EXPORT(convert_array);

}  // namespace

void add_to(const Tensor& x, const Tensor& y, Stream stream) {
  expect_floating("add_to", "x", x);
  expect_tensor("add_to", "y", y, x.shape(), DType::kFloat32);
  if (x.device().is_cuda()) return cuda_twin<add_to>()(x, y, stream);
  HWY_DYNAMIC_DISPATCH(add_arrays)(x, y);
}

void scale(const Tensor& y, float factor, Stream stream) {
  expect_tensor("scale", "y", y, y.shape(), DType::kFloat32);
  if (y.device().is_cuda()) return cuda_twin<scale>()(y, factor, stream);
  HWY_DYNAMIC_DISPATCH(scale_array)(y, factor);
}

void convert(const Tensor& x, const Tensor& y, Stream stream) {
  expect_floating("convert", "x", x);
  expect_floating("convert", "y", y);
  expect_tensor("convert", "y", y, x.shape(), y.dtype());
  if (x.device().is_cuda()) return cuda_twin<convert>()(x, y, stream);
  HWY_DYNAMIC_DISPATCH(convert_array)(x, y);
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
