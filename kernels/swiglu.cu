#include "kernels/cuda/activations.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/swiglu.h"

namespace mudelta::kernels::cuda {
namespace {

template <class T>
struct Forward {
  static constexpr int kRunLength = kRun;
  const T *gate, *up;
  T* y;

  bool is_aligned() const { return are_aligned(gate, up, y); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    float z[kRun], value[kRun];
    load(gate + i, rest, z);
    load(up + i, rest, value);
    for (int k = 0; k < kRun; ++k) value[k] *= z[k] * sigmoid(z[k]);
    store(value, y + i, rest);
  }
};

template <class T>
struct Backward {
  static constexpr int kRunLength = kRun;
  const T *gate, *up, *dy;
  T *dgate, *dup;

  bool is_aligned() const { return are_aligned(gate, up, dy, dgate, dup); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    float z[kRun], value[kRun], dvalue[kRun];
    load(gate + i, rest, z);
    load(up + i, rest, value);
    load(dy + i, rest, dvalue);
    for (int k = 0; k < kRun; ++k) {
      const float s = sigmoid(z[k]);
      value[k] = dvalue[k] * value[k] * silu_derivative(z[k], s);
      dvalue[k] *= z[k] * s;
    }
    store(value, dgate + i, rest);
    store(dvalue, dup + i, rest);
  }
};

}  // namespace

void swiglu_forward(const Tensor& gate, const Tensor& up, const Tensor& y, Stream stream) {
  dispatch_float(y.dtype(), [&]<class T>() {
    for_each_run(y.numel(), stream, Forward<T>{gate.data<T>(), up.data<T>(), y.data<T>()});
  });
}

void swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy, const Tensor& dgate, const Tensor& dup,
                     Stream stream) {
  dispatch_float(dy.dtype(), [&]<class T>() {
    for_each_run(dy.numel(), stream,
                 Backward<T>{gate.data<T>(), up.data<T>(), dy.data<T>(), dgate.data<T>(), dup.data<T>()});
  });
}

}  // namespace mudelta::kernels::cuda
