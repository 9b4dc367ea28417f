#include "kernels/cuda/elementwise.h"
#include "kernels/newton_schulz.h"

// The operations and their order are those of newton_schulz.cpp.
namespace mudelta::kernels::cuda {
namespace {

template <class T>
struct DivideByNorm {
  static constexpr int kRunLength = kRun;
  const float* x;
  const double* square_sum;
  float factor;
  T* y;

  bool is_aligned() const { return are_aligned(x, y); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    const float divisor = fmaf(factor, static_cast<float>(sqrt(*square_sum)), 1e-7f);
    float values[kRun];
    load(x + i, rest, values);
    for (float& value : values) value /= divisor;
    store(values, y + i, rest);
  }
};

template <class T>
struct Polynomial {
  static constexpr int kRunLength = kRun;
  MatrixPolynomial factors;
  const T *x, *x2;
  T* y;
  std::int64_t n;

  bool is_aligned() const { return are_aligned(x, x2, y); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    float linear[kRun], square[kRun];
    load(x + i, rest, linear);
    load(x2 + i, rest, square);
    for (int k = 0; k < kRun; ++k) {
      square[k] = fmaf(factors.c, square[k], factors.b * linear[k]);
      if ((i + k) % (n + 1) == 0) square[k] += factors.a;
    }
    store(square, y + i, rest);
  }
};

}  // namespace

void divide_by_norm(const Tensor& x, const Tensor& square_sum, float factor, const Tensor& y, Stream stream) {
  dispatch_float(y.dtype(), [&]<class T>() {
    for_each_run(y.numel(), stream, DivideByNorm<T>{x.data<float>(), square_sum.data<double>(), factor, y.data<T>()});
  });
}

void matrix_polynomial(const MatrixPolynomial& polynomial, const Tensor& x, const Tensor& x2, const Tensor& y,
                       Stream stream) {
  dispatch_float(y.dtype(), [&]<class T>() {
    for_each_run(y.numel(), stream, Polynomial<T>{polynomial, x.data<T>(), x2.data<T>(), y.data<T>(), y.shape()[0]});
  });
}

}  // namespace mudelta::kernels::cuda
