#pragma once

#include <string_view>

#include "kernels/check.h"
#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "kernels/gated_delta_rule/sizes.h"

// Checks that the public functions of the gated delta rule share.
namespace mudelta::kernels::gated_delta_rule {

inline Shape state_shape(std::int64_t count, const Sizes& sizes) {
  return {count, sizes.value_heads, sizes.key_dim, sizes.value_dim};
}

inline void expect_states_or_undefined(std::string_view op, std::string_view name, const Tensor& states,
                                       const Sizes& sizes) {
  if (states.defined()) expect_tensor(op, name, states, state_shape(sizes.sequences, sizes), DType::kFloat32);
}

inline Sizes check_inputs(std::string_view op, const GatedDeltaRuleInputs& inputs) {
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

}  // namespace mudelta::kernels::gated_delta_rule
