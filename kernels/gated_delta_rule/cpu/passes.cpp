#include "kernels/gated_delta_rule/cpu/passes.h"

#include "kernels/gated_delta_rule/cpu/items.h"
#include "kernels/gated_delta_rule/cpu/plan.h"

namespace mudelta::kernels::gated_delta_rule {

Shape chunk_states_shape(const GatedDeltaRuleInputs& inputs, const Sizes& sizes) {
  return {cut_into_chunks(all_sequences(inputs.cu_seqlens), sizes).total(), sizes.value_heads, sizes.key_dim,
          sizes.value_dim};
}

void forward(const GatedDeltaRuleInputs& inputs, const Sizes& sizes, const Tensor& o, const Tensor& final_state,
             const Tensor& chunk_states, GatedDeltaRuleAlgorithm algorithm) {
  const Inputs prepared = prepare(inputs, sizes, all_sequences(inputs.cu_seqlens));
  const bool recurrent = algorithm != GatedDeltaRuleAlgorithm::kChunkwise;  // never measured to be the slower one
  const ForwardCall call{.inputs = prepared,
                         .o = head_rows(o),
                         .initial_states = all_state_rows(inputs.initial_state),
                         .final_states = all_state_rows(final_state),
                         .chunk_states = all_state_rows(chunk_states),
                         .recurrent = recurrent,
                         .slabs = cut_into_slabs(sizes, recurrent)};
  for_each_item(
      sizes, sizes.value_heads * call.slabs.per_value_head,
      [&](std::int64_t slabs) { return forward_scratch_size(call, slabs); },
      [&](const Item& item, float* scratch) { run_forward_item(call, item, scratch); });
}

void backward(const GatedDeltaRuleInputs& inputs, const Sizes& sizes, const Tensor& chunk_states, const Tensor& d_o,
              const Tensor& dfinal_state, const GatedDeltaRuleGradients& gradients) {
  const Inputs prepared = prepare(inputs, sizes, all_sequences(inputs.cu_seqlens));
  const BackwardCall call{.inputs = prepared,
                          .chunk_states = all_state_rows(chunk_states),
                          .d_o = head_rows(d_o),
                          .dfinal_states = all_state_rows(dfinal_state),
                          .dinitial_states = all_state_rows(gradients.dinitial_state),
                          .dq = head_rows(gradients.dq),
                          .dk = head_rows(gradients.dk),
                          .dv = head_rows(gradients.dv),
                          .dg = gradients.dg.data<float>(),
                          .dbeta = gradients.dbeta.data<float>()};
  for_each_item(
      sizes, sizes.heads, [&](std::int64_t heads) { return backward_scratch_size(call, heads); },
      [&](const Item& item, float* scratch) { run_backward_item(call, item, scratch); });
}

GatedDeltaRuleMemory memory(const Sizes& sizes) {
  GatedDeltaRuleMemory memory;
  const std::int64_t length = chunk_length(sizes);
  // Half of a chunk is lost at the end of a sequence, on average.
  const std::int64_t chunks = divide_up(sizes.tokens, length) + std::max<std::int64_t>(sizes.sequences - 1, 0) / 2;
  memory.saved.add({chunks, sizes.value_heads, sizes.key_dim, sizes.value_dim}, DType::kFloat32);

  const Inputs inputs{.sizes = sizes, .chunks = {.length = length}};
  const ForwardCall forward{.inputs = inputs, .recurrent = true, .slabs = cut_into_slabs(sizes, true)};
  memory.forward.add(scratch_shape(sizes, sizes.value_heads * forward.slabs.per_value_head,
                                   [&](std::int64_t slabs) { return forward_scratch_size(forward, slabs); }),
                     DType::kFloat32);
  const BackwardCall backward{.inputs = inputs};
  memory.backward.add(
      scratch_shape(sizes, sizes.heads, [&](std::int64_t heads) { return backward_scratch_size(backward, heads); }),
      DType::kFloat32);
  return memory;
}

}  // namespace mudelta::kernels::gated_delta_rule
