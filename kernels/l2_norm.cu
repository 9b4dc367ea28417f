#include "kernels/cuda/row_team.h"
#include "kernels/l2_norm.h"

namespace mudelta::kernels::cuda {
namespace {

template <class Team, class T>
__global__ void __launch_bounds__(Team::kBlockThreads)
    forward_kernel(const T* x, std::int64_t rows, std::int64_t dim, float eps, T* y, float* rstd) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * Team::kTeams + Team::team();
  const std::int64_t count = row < rows ? dim : 0;
  const T* x_row = x + row * dim;
  T* y_row = y + row * dim;
  float squares = 0;
  Team::for_each_run(count, [&](std::int64_t i, auto rest) {
    float values[kRun];
    load(x_row + i, rest, values);
    for (const float value : values) squares = fmaf(value, value, squares);
  });
  const float factor = 1.0f / sqrtf(Team::sum(squares, dynamic_shared<float>()) + eps);
  Team::for_each_run(count, [&](std::int64_t i, auto rest) {
    float values[kRun];
    load(x_row + i, rest, values);
    for (float& value : values) value *= factor;
    store(values, y_row + i, rest);
  });
  if (row < rows && Team::thread() == 0) rstd[row] = factor;
}

template <class Team, class T>
__global__ void __launch_bounds__(Team::kBlockThreads)
    backward_kernel(const T* y, const float* rstd, const T* dy, std::int64_t rows, std::int64_t dim, T* dx) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * Team::kTeams + Team::team();
  const std::int64_t count = row < rows ? dim : 0;
  const T *y_row = y + row * dim, *dy_row = dy + row * dim;
  T* dx_row = dx + row * dim;
  float products = 0;
  Team::for_each_run(count, [&](std::int64_t i, auto rest) {
    float values[kRun], gradients[kRun];
    load(y_row + i, rest, values);
    load(dy_row + i, rest, gradients);
    for (int k = 0; k < kRun; ++k) products = fmaf(values[k], gradients[k], products);
  });
  const float y_dot_dy = Team::sum(products, dynamic_shared<float>());
  const float factor = row < rows ? rstd[row] : 0.0f;
  Team::for_each_run(count, [&](std::int64_t i, auto rest) {
    float values[kRun], gradients[kRun];
    load(y_row + i, rest, values);
    load(dy_row + i, rest, gradients);
    for (int k = 0; k < kRun; ++k) gradients[k] = fmaf(-values[k], y_dot_dy, gradients[k]) * factor;
    store(gradients, dx_row + i, rest);
  });
}

}  // namespace

void l2_norm_forward(const Tensor& x, float eps, const Tensor& y, const Tensor& rstd, Stream stream) {
  const std::int64_t rows = rstd.numel(), dim = x.size(-1);
  dispatch_float(x.dtype(), [&]<class T>() {
    dispatch_row_team(dim, are_aligned(x.data<T>(), y.data<T>()), [&]<class Team>(Team) {
      launch(forward_kernel<Team, T>, Team::blocks(rows), Team::kBlockThreads, Team::kSumFloats * sizeof(float), stream,
             x.data<T>(), rows, dim, eps, y.data<T>(), rstd.data<float>());
    });
  });
}

void l2_norm_backward(const Tensor& y, const Tensor& rstd, const Tensor& dy, const Tensor& dx, Stream stream) {
  const std::int64_t rows = rstd.numel(), dim = y.size(-1);
  dispatch_float(y.dtype(), [&]<class T>() {
    dispatch_row_team(dim, are_aligned(y.data<T>(), dy.data<T>(), dx.data<T>()), [&]<class Team>(Team) {
      launch(backward_kernel<Team, T>, Team::blocks(rows), Team::kBlockThreads, Team::kSumFloats * sizeof(float),
             stream, y.data<T>(), rstd.data<float>(), dy.data<T>(), rows, dim, dx.data<T>());
    });
  });
}

}  // namespace mudelta::kernels::cuda
