#include "kernels/gated_delta_rule/row_parts.h"

#include <string_view>

#include "core/gemm.h"
#include "kernels/check.h"
#include "kernels/cuda_twin.h"
#include "kernels/gated_delta_rule/check.h"
#include "kernels/gated_delta_rule/cpu/row_parts.h"
#include "kernels/row_edges.h"

namespace mudelta::kernels {
namespace {

using namespace gated_delta_rule;

Sizes check_parts(std::string_view op, const GatedDeltaRuleInputs& inputs, const Tensor& edges) {
  const Sizes sizes = check_inputs(op, inputs);
  expect_row_edges(op, edges, sizes.sequences);
  return sizes;
}

}  // namespace

void row_part_states(const GatedDeltaRuleInputs& inputs, const Tensor& edges, const Tensor& states,
                     const Tensor& transitions, Stream stream) {
  constexpr std::string_view kOp = "row_part_states";
  const Sizes sizes = check_parts(kOp, inputs, edges);
  const Shape square{edges.size(0), sizes.value_heads, sizes.key_dim, sizes.key_dim};
  expect_tensor(kOp, "states", states, state_shape(edges.size(0), sizes), DType::kFloat32);
  if (transitions.defined()) expect_tensor(kOp, "transitions", transitions, square, DType::kFloat32);
  if (states.device().is_cuda()) return cuda_twin<row_part_states>()(inputs, edges, states, transitions, stream);
  part_states(inputs, sizes, edges, states, transitions);
}

void row_part_dstates(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& edges,
                      const Tensor& d_o, const Tensor& dstates, Stream stream) {
  constexpr std::string_view kOp = "row_part_dstates";
  const Sizes sizes = check_parts(kOp, inputs, edges);
  expect_tensor(kOp, "d_o", d_o, inputs.v.shape(), inputs.v.dtype());
  expect_tensor(kOp, "dstates", dstates, state_shape(edges.size(0), sizes), DType::kFloat32);
  require(saved.content != nullptr, "[{}] saved: expected what a forward pass leaves, got nothing", kOp);
  if (dstates.device().is_cuda()) return cuda_twin<row_part_dstates>()(inputs, saved, edges, d_o, dstates, stream);
  part_dstates(inputs, sizes, edges, d_o, dstates);
}

void add_carried_states(const Tensor& transitions, bool transposed, const Tensor& from, const Tensor& to,
                        Stream stream) {
  constexpr std::string_view kOp = "add_carried_states";
  require(from.defined() && from.shape().rank() == 4, "[{}] from: expected four dimensions, got {}", kOp,
          from.to_string());
  const std::int64_t key_dim = from.size(2), value_dim = from.size(3), count = from.size(0) * from.size(1);
  expect_tensor(kOp, "from", from, from.shape(), DType::kFloat32);
  expect_tensor(kOp, "to", to, from.shape(), DType::kFloat32);
  expect_tensor(kOp, "transitions", transitions, {from.size(0), from.size(1), key_dim, key_dim}, DType::kFloat32);
  if (to.device().is_cuda()) return cuda_twin<add_carried_states>()(transitions, transposed, from, to, stream);
  for (std::int64_t i = 0; i < count; ++i) {
    const Shape state{key_dim, value_dim};
    gemm(transitions.flat_view(i * key_dim * key_dim, {key_dim, key_dim}), from.flat_view(i * state.numel(), state),
         to.flat_view(i * state.numel(), state), {.transpose_a = transposed, .accumulate = true}, stream);
  }
}

}  // namespace mudelta::kernels
