#include "kernels/gated_delta_rule/gated_delta_rule.h"

#include <memory>
#include <string_view>

#include "kernels/cuda_twin.h"
#include "kernels/gated_delta_rule/check.h"
#include "kernels/gated_delta_rule/cpu/passes.h"
#include "kernels/gated_delta_rule/cuda/memory.h"
#include "kernels/gated_delta_rule/memory.h"
#include "kernels/gated_delta_rule/saved.h"

namespace mudelta::kernels {

using namespace gated_delta_rule;

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
  if (device.is_cuda())
    return cuda::gated_delta_rule_memory(sizes, dtype, keep_states, cuda::gated_delta_rule::this_gpu());
  return memory(sizes);
}

}  // namespace mudelta::kernels
