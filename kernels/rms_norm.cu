#include <algorithm>

#include "kernels/cuda/activations.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/row_team.h"
#include "kernels/rms_norm.h"

// The formulas are those of rms_norm.cpp.
namespace mudelta::kernels::cuda {
namespace {

// `gate` is null for the plain norm.
template <class Team, bool kGated, class X, class Y>
__global__ void __launch_bounds__(Team::kBlockThreads)
    forward_kernel(const X* x, const X* gate, const float* weight, std::int64_t rows, std::int64_t dim, float eps, Y* y,
                   float* rstd) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * Team::kTeams + Team::team();
  const std::int64_t count = row < rows ? dim : 0, start = row * dim;
  float squares = 0;
  Team::for_each_run(count, [&](std::int64_t i, auto rest) {
    float values[kRun];
    load(x + start + i, rest, values);
    for (const float value : values) squares = fmaf(value, value, squares);
  });
  squares = Team::sum(squares, dynamic_shared<float>());
  const float factor = 1.0f / sqrtf(squares / static_cast<float>(dim) + eps);
  Team::for_each_run(count, [&](std::int64_t i, auto rest) {
    float values[kRun], gains[kRun];
    load(x + start + i, rest, values);
    load(weight + i, rest, gains);
    for (int k = 0; k < kRun; ++k) values[k] = values[k] * factor * gains[k];
    if constexpr (kGated) {
      float z[kRun];
      load(gate + start + i, rest, z);
      for (int k = 0; k < kRun; ++k) values[k] *= z[k] * sigmoid(z[k]);
    }
    store(values, y + start + i, rest);
  });
  if (row < rows && Team::thread() == 0) rstd[row] = factor;
}

// What backward reads and writes. gate and dgate are null for the plain norm, dresidual may be.
template <class X, class Y>
struct Backward {
  const X *x, *gate;
  const float *weight, *rstd;
  const Y* dy;
  const X* dresidual;
  X *dx, *dgate;
  float* partials;  // [blocks, dim], of dweight
  std::int64_t rows, dim, rows_per_block;
};

// dn: dy, and with a gate dy silu(gate).
template <bool kGated, class X, class Y>
__device__ __forceinline__ void load_dn(const Backward<X, Y>& b, std::int64_t at, auto rest, float (&dn)[kRun]) {
  load(b.dy + at, rest, dn);
  if constexpr (kGated) {
    float z[kRun];
    load(b.gate + at, rest, z);
    for (int k = 0; k < kRun; ++k) dn[k] *= z[k] * sigmoid(z[k]);
  }
}

// Every team sums dweight over its rows in shared memory, element k of run r at [k * runs + r] so that threads do not
// share banks; each element belongs to one thread of the team until the teams' sums are added.
template <class Team, bool kGated, class X, class Y>
__global__ void __launch_bounds__(Team::kBlockThreads) backward_kernel(Backward<X, Y> b) {
  float* room = dynamic_shared<float>();
  const std::int64_t runs = divide_up(b.dim, kRun);
  float* dgains = room + Team::kSumFloats + Team::team() * runs * kRun;
  Team::for_each_run(b.dim, [&](std::int64_t i, auto) {
    for (int k = 0; k < kRun; ++k) dgains[k * runs + i / kRun] = 0;
  });
  const std::int64_t begin = blockIdx.x * b.rows_per_block, end = min(begin + b.rows_per_block, b.rows);
  for (std::int64_t first = begin; first < end; first += Team::kTeams) {
    const std::int64_t row = first + Team::team(), start = row * b.dim;
    const std::int64_t count = row < end ? b.dim : 0;
    const float rstd = row < end ? b.rstd[row] : 0.0f;
    float products = 0;
    Team::for_each_run(count, [&](std::int64_t i, auto rest) {
      float values[kRun], gains[kRun], dn[kRun];
      load(b.x + start + i, rest, values);
      load(b.weight + i, rest, gains);
      load_dn<kGated>(b, start + i, rest, dn);
      for (int k = 0; k < kRun; ++k) {
        products = fmaf(dn[k] * values[k], gains[k], products);
        dgains[k * runs + i / kRun] += dn[k] * values[k] * rstd;
      }
    });
    const float along_x = rstd * rstd * rstd * Team::sum(products, room) / static_cast<float>(b.dim);
    Team::for_each_run(count, [&](std::int64_t i, auto rest) {
      float values[kRun], gains[kRun], dn[kRun];
      load(b.x + start + i, rest, values);
      load(b.weight + i, rest, gains);
      load_dn<kGated>(b, start + i, rest, dn);
      if constexpr (kGated) {
        float z[kRun], dz[kRun];
        load(b.gate + start + i, rest, z);
        load(b.dy + start + i, rest, dz);
        for (int k = 0; k < kRun; ++k) {
          dz[k] *= values[k] * rstd * gains[k] * silu_derivative(z[k], sigmoid(z[k]));
        }
        store(dz, b.dgate + start + i, rest);
      }
      for (int k = 0; k < kRun; ++k) dn[k] = fmaf(-values[k], along_x, dn[k] * gains[k] * rstd);
      if (b.dresidual != nullptr) {
        load(b.dresidual + start + i, rest, values);
        for (int k = 0; k < kRun; ++k) dn[k] += values[k];
      }
      store(dn, b.dx + start + i, rest);
    });
  }
  __syncthreads();
  for (std::int64_t i = threadIdx.x; i < b.dim; i += Team::kBlockThreads) {
    float sum = 0;
    for (int team = 0; team < Team::kTeams; ++team) {
      sum += room[Team::kSumFloats + (team * kRun + i % kRun) * runs + i / kRun];
    }
    b.partials[blockIdx.x * b.dim + i] = sum;
  }
}

template <bool kGated, class X, class Y>
void run_forward(const Tensor& x, const X* gate, const Tensor& weight, float eps, const Tensor& y, const Tensor& rstd,
                 Stream stream) {
  const std::int64_t rows = x.size(0), dim = x.size(1);
  const bool is_aligned = are_aligned(x.data<X>(), gate, weight.data<float>(), y.data<Y>());
  dispatch_row_team(dim, is_aligned, [&]<class Team>(Team) {
    launch(forward_kernel<Team, kGated, X, Y>, Team::blocks(rows), Team::kBlockThreads,
           Team::kSumFloats * sizeof(float), stream, x.data<X>(), gate, weight.data<float>(), rows, dim, eps,
           y.data<Y>(), rstd.data<float>());
  });
}

// Fills in the sizes and partials of `b`.
template <bool kGated, class X, class Y>
void run_backward(Backward<X, Y> b, const Tensor& x, const Tensor& dweight, Stream stream) {
  // The cut depends on the shape alone, and so do the bits of dweight.
  constexpr std::int64_t kMaxBlocks = 1024, kMinRowsPerTeam = 4;
  b.rows = x.size(0), b.dim = x.size(1);
  const bool is_aligned = are_aligned(b.x, b.gate, b.weight, b.dy, b.dresidual, b.dx, b.dgate);
  dispatch_row_team(b.dim, is_aligned, [&]<class Team>(Team) {
    const std::int64_t rows_per_team = std::max(divide_up(b.rows, kMaxBlocks * Team::kTeams), kMinRowsPerTeam);
    b.rows_per_block = rows_per_team * Team::kTeams;
    const std::int64_t blocks = divide_up(b.rows, b.rows_per_block);
    const Tensor partials = Tensor::empty(Shape{blocks, b.dim}, DType::kFloat32, x.device());
    b.partials = partials.data<float>();
    const std::int64_t shared_floats = Team::kSumFloats + Team::kTeams * divide_up(b.dim, kRun) * kRun;
    launch(backward_kernel<Team, kGated, X, Y>, dim3(static_cast<unsigned>(blocks)), Team::kBlockThreads,
           shared_floats * static_cast<std::int64_t>(sizeof(float)), stream, b);
    add_column_sums(partials, dweight, stream);
  });
}

}  // namespace

void rms_norm_forward(const Tensor& x, const Tensor& weight, float eps, const Tensor& y, const Tensor& rstd,
                      Stream stream) {
  dispatch_float(x.dtype(), [&]<class X>() {
    dispatch_float(y.dtype(), [&]<class Y>() { run_forward<false, X, Y>(x, nullptr, weight, eps, y, rstd, stream); });
  });
}

void rms_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dy,
                       const Tensor& dresidual, const Tensor& dx, const Tensor& dweight, Stream stream) {
  dispatch_float(x.dtype(), [&]<class X>() {
    dispatch_float(dy.dtype(), [&]<class Y>() {
      run_backward<false>(Backward<X, Y>{.x = x.data<X>(),
                                         .weight = weight.data<float>(),
                                         .rstd = rstd.data<float>(),
                                         .dy = dy.data<Y>(),
                                         .dresidual = dresidual.defined() ? dresidual.data<X>() : nullptr,
                                         .dx = dx.data<X>()},
                          x, dweight, stream);
    });
  });
}

void gated_rms_norm_forward(const Tensor& x, const Tensor& gate, const Tensor& weight, float eps, const Tensor& y,
                            const Tensor& rstd, Stream stream) {
  dispatch_float(x.dtype(),
                 [&]<class T>() { run_forward<true, T, T>(x, gate.data<T>(), weight, eps, y, rstd, stream); });
}

void gated_rms_norm_backward(const Tensor& x, const Tensor& gate, const Tensor& weight, const Tensor& rstd,
                             const Tensor& dy, const Tensor& dx, const Tensor& dgate, const Tensor& dweight,
                             Stream stream) {
  dispatch_float(x.dtype(), [&]<class T>() {
    run_backward<true>(Backward<T, T>{.x = x.data<T>(),
                                      .gate = gate.data<T>(),
                                      .weight = weight.data<float>(),
                                      .rstd = rstd.data<float>(),
                                      .dy = dy.data<T>(),
                                      .dx = dx.data<T>(),
                                      .dgate = dgate.data<T>()},
                       x, dweight, stream);
  });
}

}  // namespace mudelta::kernels::cuda
