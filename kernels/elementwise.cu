#include "kernels/cuda/elementwise.h"
#include "kernels/elementwise.h"

namespace mudelta::kernels::cuda {
namespace {

template <class T>
struct Add {
  static constexpr int kRunLength = kRun;
  const T* x;
  float* y;

  bool is_aligned() const { return are_aligned(x, y); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    float terms[kRun], sums[kRun];
    load(x + i, rest, terms);
    load(y + i, rest, sums);
    for (int k = 0; k < kRun; ++k) sums[k] += terms[k];
    store(sums, y + i, rest);
  }
};

struct Scale {
  static constexpr int kRunLength = 4;
  float* y;
  float factor;

  bool is_aligned() const { return are_aligned(y); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    float values[kRunLength];
    load(y + i, rest, values);
    for (float& value : values) value *= factor;
    store(values, y + i, rest);
  }
};

template <class From, class To>
struct Convert {
  static constexpr int kRunLength = kRun;
  const From* x;
  To* y;

  bool is_aligned() const { return are_aligned(x, y); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    float values[kRun];
    load(x + i, rest, values);
    store(values, y + i, rest);
  }
};

}  // namespace

void add_to(const Tensor& x, const Tensor& y, Stream stream) {
  dispatch_float(x.dtype(), [&]<class T>() { for_each_run(y.numel(), stream, Add<T>{x.data<T>(), y.data<float>()}); });
}

void scale(const Tensor& y, float factor, Stream stream) {
  for_each_run(y.numel(), stream, Scale{y.data<float>(), factor});
}

void convert(const Tensor& x, const Tensor& y, Stream stream) {
  dispatch_float(x.dtype(), [&]<class From>() {
    dispatch_float(y.dtype(), [&]<class To>() {
      for_each_run(y.numel(), stream, Convert<From, To>{x.data<From>(), y.data<To>()});
    });
  });
}

}  // namespace mudelta::kernels::cuda
