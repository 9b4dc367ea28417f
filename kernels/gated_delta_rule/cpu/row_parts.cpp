#include "kernels/gated_delta_rule/cpu/row_parts.h"

#include <vector>

#include "kernels/gated_delta_rule/cpu/items.h"
#include "kernels/gated_delta_rule/cpu/plan.h"
#include "kernels/row_edges.h"

namespace mudelta::kernels::gated_delta_rule {
namespace {

// For each part the tokens of one of its sequences, or none: sequence_of(row of edges) is its number, or -1.
template <class F>
std::vector<Rows> sequences_of_parts(const GatedDeltaRuleInputs& inputs, const Tensor& edges, const F& sequence_of) {
  const std::int32_t* bounds = inputs.cu_seqlens.data<std::int32_t>();
  std::vector<Rows> sequences;
  for (std::int64_t part = 0; part < edges.size(0); ++part) {
    const std::int32_t sequence = sequence_of(edges.data<std::int32_t>() + part * kEdgeColumns);
    sequences.push_back(sequence < 0 ? Rows{0, 0} : Rows{bounds[sequence], bounds[sequence + 1]});
  }
  return sequences;
}

// Whether a document goes on all through a part.
bool goes_through(const std::int32_t* edge) {
  return edge[kFirstSequence] == edge[kLastSequence] && edge[kTokensBefore] > 0;
}

void run_forward(const Inputs& inputs, const Tensor& initial_states, const Tensor& final_states) {
  const ForwardCall call{.inputs = inputs,
                         .initial_states = all_state_rows(initial_states),
                         .final_states = all_state_rows(final_states),
                         .recurrent = true,
                         .slabs = cut_into_slabs(inputs.sizes, true)};
  for_each_item(
      inputs.sizes, inputs.sizes.value_heads * call.slabs.per_value_head,
      [&](std::int64_t slabs) { return forward_scratch_size(call, slabs); },
      [&](const Item& item, float* scratch) { run_forward_item(call, item, scratch); });
}

Sizes with_parts(Sizes sizes, const Tensor& edges) {
  sizes.sequences = edges.size(0);
  return sizes;
}

}  // namespace

// The columns of M are states that start from those of the identity, with v = 0.
void part_states(const GatedDeltaRuleInputs& inputs, const Sizes& sizes, const Tensor& edges, const Tensor& states,
                 const Tensor& transitions) {
  Sizes of_parts = with_parts(sizes, edges);
  const auto last = sequences_of_parts(inputs, edges, [](const std::int32_t* edge) { return edge[kLastSequence]; });
  run_forward(prepare(inputs, of_parts, last), {}, states);
  if (!transitions.defined()) return;

  transitions.fill_zero();
  const std::int64_t k = sizes.key_dim;
  for (std::int64_t part = 0; part < of_parts.sequences; ++part) {
    if (!goes_through(edges.data<std::int32_t>() + part * kEdgeColumns)) continue;
    for (std::int64_t row = 0; row < sizes.value_heads * k; ++row) {
      transitions.data<float>()[(part * sizes.value_heads * k + row) * k + row % k] = 1;
    }
  }
  of_parts.value_dim = k;
  Inputs without_values = prepare(inputs, of_parts, sequences_of_parts(inputs, edges, [](const std::int32_t* edge) {
                                    return goes_through(edge) ? edge[kFirstSequence] : -1;
                                  }));
  without_values.v = {};
  run_forward(without_values, transitions, transitions);
}

void part_dstates(const GatedDeltaRuleInputs& inputs, const Sizes& sizes, const Tensor& edges, const Tensor& d_o,
                  const Tensor& dstates) {
  const Inputs prepared =
      prepare(inputs, with_parts(sizes, edges), sequences_of_parts(inputs, edges, [](const std::int32_t* edge) {
                return edge[kTokensBefore] > 0 ? edge[kFirstSequence] : -1;
              }));
  const BackwardStatesCall call{.inputs = prepared,
                                .d_o = head_rows(d_o),
                                .dinitial_states = all_state_rows(dstates),
                                .slabs = cut_into_slabs(prepared.sizes, true)};
  for_each_item(
      prepared.sizes, sizes.value_heads * call.slabs.per_value_head,
      [&](std::int64_t slabs) { return backward_states_scratch_size(call, slabs); },
      [&](const Item& item, float* scratch) { run_backward_states_item(call, item, scratch); });
}

}  // namespace mudelta::kernels::gated_delta_rule
