#include "kernels/gated_delta_rule/gated_delta_rule.h"

#include <memory>
#include <string_view>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"
#include "kernels/gated_delta_rule/cpu/passes.h"
#include "kernels/gated_delta_rule/cuda/memory.h"
#include "kernels/gated_delta_rule/memory.h"
#include "kernels/gated_delta_rule/saved.h"
#include "kernels/gated_delta_rule/sizes.h"

namespace mudelta::kernels {
namespace {

using namespace gated_delta_rule;

Shape state_shape(std::int64_t count, const Sizes& sizes) {
  return {count, sizes.value_heads, sizes.key_dim, sizes.value_dim};
}

void expect_states_or_undefined(std::string_view op, std::string_view name, const Tensor& states, const Sizes& sizes) {
  if (states.defined()) expect_tensor(op, name, states, state_shape(sizes.sequences, sizes), DType::kFloat32);
}

Sizes check_inputs(std::string_view op, const GatedDeltaRuleInputs& inputs) {
  const auto expect_heads = [op](std::string_view name, const Tensor& tensor, std::string_view layout) {
    expect_floating(op, name, tensor);
    require(tensor.shape().rank() == 3 && tensor.size(1) > 0 && tensor.size(2) > 0, "[{}] {}: expected {}, got {}", op,
            name, layout, tensor.to_string());
  };
  expect_heads("q", inputs.q, "[tokens, heads, key_dim]");
  expect_heads("v", inputs.v, "[tokens, value_heads, value_dim]");
  Sizes sizes{.tokens = inputs.q.size(0),
              .heads = inputs.q.size(1),
              .value_heads = inputs.v.size(1),
              .key_dim = inputs.q.size(2),
              .value_dim = inputs.v.size(2)};
  require(sizes.value_heads % sizes.heads == 0, "[{}] {} value heads are not a multiple of {} heads", op,
          sizes.value_heads, sizes.heads);
  const DType dtype = inputs.q.dtype();
  expect_tensor(op, "k", inputs.k, inputs.q.shape(), dtype);
  expect_tensor(op, "v", inputs.v, {sizes.tokens, sizes.value_heads, sizes.value_dim}, dtype);
  expect_tensor(op, "g", inputs.g, {sizes.tokens, sizes.value_heads}, DType::kFloat32);
  expect_tensor(op, "beta", inputs.beta, {sizes.tokens, sizes.value_heads}, DType::kFloat32);

  expect_cu_seqlens(op, inputs.cu_seqlens, sizes.tokens);
  sizes.sequences = inputs.cu_seqlens.numel() - 1;
  expect_states_or_undefined(op, "initial_state", inputs.initial_state, sizes);
  return sizes;
}

}  // namespace

void gated_delta_rule_forward(const GatedDeltaRuleInputs& inputs, const Tensor& o, const Tensor& final_state,
                              GatedDeltaRuleSaved* saved, GatedDeltaRuleAlgorithm algorithm, Stream stream) {
  constexpr std::string_view kOp = "gated_delta_rule_forward";
  const Sizes sizes = check_inputs(kOp, inputs);
  expect_tensor(kOp, "o", o, inputs.v.shape(), inputs.v.dtype());
  expect_states_or_undefined(kOp, "final_state", final_state, sizes);
  if (saved != nullptr) saved->content = std::make_shared<Saved>();
  if (o.device().is_cuda()) {
    return cuda_twin<gated_delta_rule_forward>()(inputs, o, final_state, saved, algorithm, stream);
  }
  Tensor chunk_states;
  if (saved != nullptr) {
    chunk_states = saved->content->chunk_states = Tensor::empty(chunk_states_shape(inputs, sizes));
  }
  forward(inputs, sizes, o, final_state, chunk_states, algorithm);
}

void gated_delta_rule_backward(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& d_o,
                               const Tensor& dfinal_state, const GatedDeltaRuleGradients& gradients, Stream stream) {
  constexpr std::string_view kOp = "gated_delta_rule_backward";
  const Sizes sizes = check_inputs(kOp, inputs);
  expect_tensor(kOp, "d_o", d_o, inputs.v.shape(), inputs.v.dtype());
  expect_states_or_undefined(kOp, "dfinal_state", dfinal_state, sizes);
  expect_tensor(kOp, "dq", gradients.dq, inputs.q.shape(), inputs.q.dtype());
  expect_tensor(kOp, "dk", gradients.dk, inputs.k.shape(), inputs.k.dtype());
  expect_tensor(kOp, "dv", gradients.dv, inputs.v.shape(), inputs.v.dtype());
  expect_tensor(kOp, "dg", gradients.dg, inputs.g.shape(), DType::kFloat32);
  expect_tensor(kOp, "dbeta", gradients.dbeta, inputs.beta.shape(), DType::kFloat32);
  expect_states_or_undefined(kOp, "dinitial_state", gradients.dinitial_state, sizes);
  require(saved.content != nullptr, "[{}] saved: expected what a forward pass leaves, got nothing", kOp);
  if (d_o.device().is_cuda()) {
    return cuda_twin<gated_delta_rule_backward>()(inputs, saved, d_o, dfinal_state, gradients, stream);
  }
  const Tensor& chunk_states = saved.content->chunk_states;
  expect_tensor(kOp, "saved.chunk_states", chunk_states, chunk_states_shape(inputs, sizes), DType::kFloat32);
  backward(inputs, sizes, chunk_states, d_o, dfinal_state, gradients);
}

GatedDeltaRuleMemory gated_delta_rule_memory(const Sizes& sizes, DType dtype, bool keep_states, Device device) {
  if (device.is_cuda()) return cuda::gated_delta_rule_memory(sizes, dtype, keep_states, cuda::gated_delta_rule::this_gpu());
  return memory(sizes);
}

}  // namespace mudelta::kernels
