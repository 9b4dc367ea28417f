#include <cmath>

#include "kernels/cuda/elementwise.h"
#include "kernels/optimizer_update.h"

// The operations and their order are those of optimizer_update.cpp.
namespace mudelta::kernels::cuda {
namespace {

struct AdamW {
  static constexpr int kRunLength = 4;
  float *weight, *exp_avg, *exp_avg_sq;
  const float* gradient;
  float scale, beta1, beta2, rest1, rest2, step, eps, decay, root_correction;

  bool is_aligned() const { return are_aligned(weight, exp_avg, exp_avg_sq, gradient); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    float w[kRunLength], m[kRunLength], v[kRunLength], g[kRunLength];
    load(weight + i, rest, w);
    load(exp_avg + i, rest, m);
    load(exp_avg_sq + i, rest, v);
    load(gradient + i, rest, g);
    for (int k = 0; k < kRunLength; ++k) {
      g[k] *= scale;
      m[k] = fmaf(m[k], beta1, g[k] * rest1);
      v[k] = fmaf(v[k], beta2, g[k] * g[k] * rest2);
      const float denominator = fmaf(sqrtf(v[k]), root_correction, eps);
      w[k] -= fmaf(decay, w[k], step * m[k] / denominator);
    }
    store(w, weight + i, rest);
    store(m, exp_avg + i, rest);
    store(v, exp_avg_sq + i, rest);
  }
};

struct Sgd {
  static constexpr int kRunLength = 4;
  float *weight, *momentum_buffer;
  const float* gradient;
  float scale, momentum, lr, decay;
  bool nesterov;

  bool is_aligned() const { return are_aligned(weight, momentum_buffer, gradient); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    float w[kRunLength], average[kRunLength], g[kRunLength];
    load(weight + i, rest, w);
    load(momentum_buffer + i, rest, average);
    load(gradient + i, rest, g);
    for (int k = 0; k < kRunLength; ++k) {
      g[k] *= scale;
      average[k] = fmaf(momentum, average[k], g[k]);
      const float direction = nesterov ? fmaf(momentum, average[k], g[k]) : average[k];
      w[k] -= fmaf(decay, w[k], lr * direction);
    }
    store(w, weight + i, rest);
    store(average, momentum_buffer + i, rest);
  }
};

struct Momentum {
  static constexpr int kRunLength = 4;
  float *momentum_buffer, *direction;
  const float* gradient;
  float scale, momentum, rest_of_momentum;
  bool nesterov;

  bool is_aligned() const { return are_aligned(momentum_buffer, direction, gradient); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    float average[kRunLength], g[kRunLength];
    load(momentum_buffer + i, rest, average);
    load(gradient + i, rest, g);
    for (int k = 0; k < kRunLength; ++k) {
      g[k] = g[k] * scale * rest_of_momentum;
      average[k] = fmaf(momentum, average[k], g[k]);
      g[k] = nesterov ? fmaf(momentum, average[k], g[k]) : average[k];
    }
    store(average, momentum_buffer + i, rest);
    store(g, direction + i, rest);
  }
};

struct StepAlong {
  static constexpr int kRunLength = 4;
  float* weight;
  const float* direction;
  float lr, decay;

  bool is_aligned() const { return are_aligned(weight, direction); }
  __device__ void operator()(std::int64_t i, auto rest) const {
    float w[kRunLength], d[kRunLength];
    load(weight + i, rest, w);
    load(direction + i, rest, d);
    for (int k = 0; k < kRunLength; ++k) w[k] -= fmaf(decay, w[k], lr * d[k]);
    store(w, weight + i, rest);
  }
};

}  // namespace

void adamw_update(const AdamWUpdate& u, Stream stream) {
  for_each_run(u.weight.numel(), stream,
               AdamW{.weight = u.weight.data<float>(),
                     .exp_avg = u.exp_avg.data<float>(),
                     .exp_avg_sq = u.exp_avg_sq.data<float>(),
                     .gradient = u.gradient.data<float>(),
                     .scale = u.gradient_scale,
                     .beta1 = u.beta1,
                     .beta2 = u.beta2,
                     .rest1 = 1 - u.beta1,
                     .rest2 = 1 - u.beta2,
                     .step = u.lr / u.bias_correction1,
                     .eps = u.eps,
                     .decay = u.decay,
                     .root_correction = 1 / std::sqrt(u.bias_correction2)});
}

void sgd_update(const SgdUpdate& u, Stream stream) {
  for_each_run(u.weight.numel(), stream,
               Sgd{.weight = u.weight.data<float>(),
                   .momentum_buffer = u.momentum_buffer.data<float>(),
                   .gradient = u.gradient.data<float>(),
                   .scale = u.gradient_scale,
                   .momentum = u.momentum,
                   .lr = u.lr,
                   .decay = u.decay,
                   .nesterov = u.nesterov});
}

void momentum_update(const MomentumUpdate& u, Stream stream) {
  for_each_run(u.gradient.numel(), stream,
               Momentum{.momentum_buffer = u.momentum_buffer.data<float>(),
                        .direction = u.direction.data<float>(),
                        .gradient = u.gradient.data<float>(),
                        .scale = u.gradient_scale,
                        .momentum = u.momentum,
                        .rest_of_momentum = 1 - u.momentum,
                        .nesterov = u.nesterov});
}

void direction_update(const DirectionUpdate& u, Stream stream) {
  for_each_run(u.weight.numel(), stream,
               StepAlong{.weight = u.weight.data<float>(),
                         .direction = u.direction.data<float>(),
                         .lr = u.lr,
                         .decay = u.decay});
}

}  // namespace mudelta::kernels::cuda
