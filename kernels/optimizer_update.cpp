#include "kernels/optimizer_update.h"

#include <cmath>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/optimizer_update.cpp"
#include "hwy/foreach_target.h"
#include "kernels/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

void adamw(const AdamWUpdate& u) {
  float *weight = u.weight.data<float>(), *exp_avg = u.exp_avg.data<float>(), *exp_avg_sq = u.exp_avg_sq.data<float>();
  const float* gradient = u.gradient.data<float>();
  const auto scale = broadcast(u.gradient_scale), beta1 = broadcast(u.beta1), beta2 = broadcast(u.beta2);
  const auto rest1 = broadcast(1 - u.beta1), rest2 = broadcast(1 - u.beta2);
  const auto step = broadcast(u.lr / u.bias_correction1), eps = broadcast(u.eps), decay = broadcast(u.decay);
  const auto root_correction = broadcast(1 / std::sqrt(u.bias_correction2));
  parallel_for_each_vector(u.weight.numel(), [=](std::int64_t i, auto lanes) {
    const auto g = hn::Mul(load(gradient + i, lanes), scale);
    const auto m = hn::MulAdd(load(exp_avg + i, lanes), beta1, hn::Mul(g, rest1));
    const auto v = hn::MulAdd(load(exp_avg_sq + i, lanes), beta2, hn::Mul(hn::Mul(g, g), rest2));
    const auto w = load(weight + i, lanes);
    const auto denominator = hn::MulAdd(hn::Sqrt(v), root_correction, eps);
    const auto move = hn::MulAdd(decay, w, hn::Div(hn::Mul(step, m), denominator));
    store(m, exp_avg + i, lanes);
    store(v, exp_avg_sq + i, lanes);
    store(hn::Sub(w, move), weight + i, lanes);
  });
}

void sgd(const SgdUpdate& u) {
  float *weight = u.weight.data<float>(), *buffer = u.momentum_buffer.data<float>();
  const float* gradient = u.gradient.data<float>();
  const auto scale = broadcast(u.gradient_scale), momentum = broadcast(u.momentum), lr = broadcast(u.lr);
  const auto decay = broadcast(u.decay);
  parallel_for_each_vector(u.weight.numel(), [=, nesterov = u.nesterov](std::int64_t i, auto lanes) {
    const auto g = hn::Mul(load(gradient + i, lanes), scale);
    const auto average = hn::MulAdd(momentum, load(buffer + i, lanes), g);
    const auto direction = nesterov ? hn::MulAdd(momentum, average, g) : average;
    const auto w = load(weight + i, lanes);
    store(average, buffer + i, lanes);
    store(hn::Sub(w, hn::MulAdd(decay, w, hn::Mul(lr, direction))), weight + i, lanes);
  });
}

void momentum_average(const MomentumUpdate& u) {
  float *buffer = u.momentum_buffer.data<float>(), *direction = u.direction.data<float>();
  const float* gradient = u.gradient.data<float>();
  const auto scale = broadcast(u.gradient_scale), momentum = broadcast(u.momentum), rest = broadcast(1 - u.momentum);
  parallel_for_each_vector(u.gradient.numel(), [=, nesterov = u.nesterov](std::int64_t i, auto lanes) {
    const auto g = hn::Mul(hn::Mul(load(gradient + i, lanes), scale), rest);
    const auto average = hn::MulAdd(momentum, load(buffer + i, lanes), g);
    store(average, buffer + i, lanes);
    store(nesterov ? hn::MulAdd(momentum, average, g) : average, direction + i, lanes);
  });
}

void step_along(const DirectionUpdate& u) {
  float* weight = u.weight.data<float>();
  const float* direction = u.direction.data<float>();
  const auto lr = broadcast(u.lr), decay = broadcast(u.decay);
  parallel_for_each_vector(u.weight.numel(), [=](std::int64_t i, auto lanes) {
    const auto w = load(weight + i, lanes);
    store(hn::Sub(w, hn::MulAdd(decay, w, hn::Mul(lr, load(direction + i, lanes)))), weight + i, lanes);
  });
}

}  // namespace
}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels {
namespace {

HWY_EXPORT(adamw);
HWY_EXPORT(sgd);
HWY_EXPORT(momentum_average);
HWY_EXPORT(step_along);

void expect_flat(std::string_view op, std::string_view name, const Tensor& tensor, const Tensor& first) {
  if (!first.defined() || first.shape().rank() != 1) {
    fail("[{}] {}: expected a flat float32 tensor, got {}", op, name, first.to_string());
  }
  expect_tensor(op, name, tensor, first.shape(), DType::kFloat32);
}

}  // namespace

void adamw_update(const AdamWUpdate& update, Stream stream) {
  constexpr auto kOp = "adamw_update";
  expect_flat(kOp, "weight", update.weight, update.weight);
  expect_flat(kOp, "exp_avg", update.exp_avg, update.weight);
  expect_flat(kOp, "exp_avg_sq", update.exp_avg_sq, update.weight);
  expect_flat(kOp, "gradient", update.gradient, update.weight);
  if (update.weight.device().is_cuda()) return cuda_twin<adamw_update>()(update, stream);
  HWY_DYNAMIC_DISPATCH(adamw)(update);
}

void sgd_update(const SgdUpdate& update, Stream stream) {
  constexpr auto kOp = "sgd_update";
  expect_flat(kOp, "weight", update.weight, update.weight);
  expect_flat(kOp, "momentum_buffer", update.momentum_buffer, update.weight);
  expect_flat(kOp, "gradient", update.gradient, update.weight);
  if (update.weight.device().is_cuda()) return cuda_twin<sgd_update>()(update, stream);
  HWY_DYNAMIC_DISPATCH(sgd)(update);
}

void momentum_update(const MomentumUpdate& update, Stream stream) {
  constexpr auto kOp = "momentum_update";
  expect_flat(kOp, "gradient", update.gradient, update.gradient);
  expect_flat(kOp, "momentum_buffer", update.momentum_buffer, update.gradient);
  expect_flat(kOp, "direction", update.direction, update.gradient);
  if (update.gradient.device().is_cuda()) return cuda_twin<momentum_update>()(update, stream);
  HWY_DYNAMIC_DISPATCH(momentum_average)(update);
}

void direction_update(const DirectionUpdate& update, Stream stream) {
  constexpr auto kOp = "direction_update";
  expect_flat(kOp, "weight", update.weight, update.weight);
  expect_flat(kOp, "direction", update.direction, update.weight);
  if (update.weight.device().is_cuda()) return cuda_twin<direction_update>()(update, stream);
  HWY_DYNAMIC_DISPATCH(step_along)(update);
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
