#pragma once

#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "kernels/gated_delta_rule/memory.h"
#include "kernels/gated_delta_rule/sizes.h"

// The public functions for tensors on the CPU, whose shapes and dtypes have been checked.
namespace mudelta::kernels::gated_delta_rule {

// The shape of the states at the start of each chunk.
Shape chunk_states_shape(const GatedDeltaRuleInputs& inputs, const Sizes& sizes);

// chunk_states (=) may be undefined.
void forward(const GatedDeltaRuleInputs& inputs, const Sizes& sizes, const Tensor& o, const Tensor& final_state,
             const Tensor& chunk_states, GatedDeltaRuleAlgorithm algorithm);

void backward(const GatedDeltaRuleInputs& inputs, const Sizes& sizes, const Tensor& chunk_states, const Tensor& d_o,
              const Tensor& dfinal_state, const GatedDeltaRuleGradients& gradients);

// States are always kept.
GatedDeltaRuleMemory memory(const Sizes& sizes);

}  // namespace mudelta::kernels::gated_delta_rule
