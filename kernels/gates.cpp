#include "kernels/gates.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gates.cpp"
#include "hwy/foreach_target.h"
#include "kernels/simd/math-inl.h"

// A row has few heads, often fewer than a vector has lanes, so vectors run on across rows: lane l of the vector at
// element i belongs to head (i + l) % heads. This repeats after kLanes rows, the period.
HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

// One period of a number per head, transformed by f.
template <class F>
std::vector<float> periodic(const Tensor& per_head, const F& f) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < kLanes; ++i) {
    for (const float value : per_head.span<float>()) values.push_back(f(value));
  }
  return values;
}

// body(i, phase, lanes) for each vector of the elements [begin, end); phase = i - begin modulo the period.
template <class Body>
HWY_INLINE void for_each_periodic_vector(std::int64_t begin, std::int64_t end, std::int64_t period, const Body& body) {
  for (std::int64_t start = begin; start < end; start += period) {
    for_each_vector(std::min(period, end - start),
                    [&](std::int64_t phase, auto lanes) { body(start + phase, phase, lanes); });
  }
}

// What both passes read of the inputs.
struct Operands {
  explicit Operands(const GateInputs& inputs)
      : z_a(inputs.z_a.data<float>()),
        z_b(inputs.z_b.data<float>()),
        rates(periodic(inputs.a_log, [](float a) { return -std::exp(a); })),
        biases(periodic(inputs.dt_bias, [](float b) { return b; })),
        beta_max(inputs.beta_max) {}

  const float *z_a, *z_b;
  std::vector<float> rates, biases;  // one period of -exp(a_log) and of dt_bias
  float beta_max;
};

void forward(const GateInputs& inputs, const Tensor& g, const Tensor& beta) {
  const std::int64_t heads = g.size(1), period = heads * kLanes;
  const Operands in(inputs);
  float *g_data = g.data<float>(), *beta_data = beta.data<float>();
  RowBlocks(g.size(0), heads).for_each([&](std::int64_t, std::int64_t begin, std::int64_t end) {
    for_each_periodic_vector(begin * heads, end * heads, period, [&](std::int64_t i, std::int64_t phase, auto lanes) {
      const auto dt = softplus(hn::Add(load(in.z_a + i, lanes), load(&in.biases[phase])));
      store(hn::Mul(load(&in.rates[phase]), dt), g_data + i, lanes);
      store(hn::Mul(broadcast(in.beta_max), sigmoid(load(in.z_b + i, lanes))), beta_data + i, lanes);
    });
  });
}

void backward(const GateInputs& inputs, const Tensor& dg, const Tensor& dbeta, const GateGradients& gradients) {
  const std::int64_t heads = dg.size(1), period = heads * kLanes;
  const Operands in(inputs);
  const float *dg_data = dg.data<float>(), *dbeta_data = dbeta.data<float>();
  float *dz_a = gradients.dz_a.data<float>(), *dz_b = gradients.dz_b.data<float>();
  const RowBlocks blocks(dg.size(0), heads);
  const Tensor a_log_partials = Tensor::zeros({blocks.count() * kLanes, heads});
  const Tensor dt_bias_partials = Tensor::zeros({blocks.count() * kLanes, heads});
  float *a_log_data = a_log_partials.data<float>(), *dt_bias_data = dt_bias_partials.data<float>();
  blocks.for_each([&](std::int64_t block, std::int64_t begin, std::int64_t end) {
    float *a_log_sums = a_log_data + block * period, *dt_bias_sums = dt_bias_data + block * period;
    for_each_periodic_vector(begin * heads, end * heads, period, [&](std::int64_t i, std::int64_t phase, auto lanes) {
      const auto pre = hn::Add(load(in.z_a + i, lanes), load(&in.biases[phase]));
      const auto ddt = hn::Mul(load(dg_data + i, lanes), load(&in.rates[phase]));
      const auto dpre = hn::Mul(ddt, sigmoid(pre));
      const auto da_log = fill_others(hn::Mul(ddt, softplus(pre)), 0, lanes);
      store(hn::Add(load(a_log_sums + phase), da_log), a_log_sums + phase);
      store(hn::Add(load(dt_bias_sums + phase), fill_others(dpre, 0, lanes)), dt_bias_sums + phase);
      store(dpre, dz_a + i, lanes);
      const auto logit = load(in.z_b + i, lanes);
      const auto slope = hn::Mul(sigmoid(logit), sigmoid(hn::Neg(logit)));
      const auto dstrength = hn::Mul(load(dbeta_data + i, lanes), broadcast(in.beta_max));
      store(hn::Mul(dstrength, slope), dz_b + i, lanes);
    });
  });
  add_partial_sums(a_log_partials, gradients.da_log);
  add_partial_sums(dt_bias_partials, gradients.ddt_bias);
}

}  // namespace
}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels {
namespace {

HWY_EXPORT(forward);
HWY_EXPORT(backward);

void check_inputs(std::string_view op, const GateInputs& inputs) {
  expect_float32_matrix(op, "z_a", inputs.z_a, "[tokens, heads]");
  expect_tensor(op, "z_b", inputs.z_b, inputs.z_a.shape(), DType::kFloat32);
  expect_tensor(op, "a_log", inputs.a_log, {inputs.z_a.size(1)}, DType::kFloat32);
  expect_tensor(op, "dt_bias", inputs.dt_bias, {inputs.z_a.size(1)}, DType::kFloat32);
}

}  // namespace

void gates_forward(const GateInputs& inputs, const Tensor& g, const Tensor& beta, Stream stream) {
  constexpr auto kOp = "gates_forward";
  check_inputs(kOp, inputs);
  expect_tensor(kOp, "g", g, inputs.z_a.shape(), DType::kFloat32);
  expect_tensor(kOp, "beta", beta, inputs.z_a.shape(), DType::kFloat32);
  if (g.device().is_cuda()) return cuda_twin<gates_forward>()(inputs, g, beta, stream);
  HWY_DYNAMIC_DISPATCH(forward)(inputs, g, beta);
}

void gates_backward(const GateInputs& inputs, const Tensor& dg, const Tensor& dbeta, const GateGradients& gradients,
                    Stream stream) {
  constexpr auto kOp = "gates_backward";
  check_inputs(kOp, inputs);
  const Shape& shape = inputs.z_a.shape();
  expect_tensor(kOp, "dg", dg, shape, DType::kFloat32);
  expect_tensor(kOp, "dbeta", dbeta, shape, DType::kFloat32);
  expect_tensor(kOp, "dz_a", gradients.dz_a, shape, DType::kFloat32);
  expect_tensor(kOp, "dz_b", gradients.dz_b, shape, DType::kFloat32);
  expect_tensor(kOp, "da_log", gradients.da_log, {shape[1]}, DType::kFloat32);
  expect_tensor(kOp, "ddt_bias", gradients.ddt_bias, {shape[1]}, DType::kFloat32);
  if (dg.device().is_cuda()) return cuda_twin<gates_backward>()(inputs, dg, dbeta, gradients, stream);
  HWY_DYNAMIC_DISPATCH(backward)(inputs, dg, dbeta, gradients);
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
