#pragma once

#include "kernels/gated_delta_rule/row_parts.h"
#include "kernels/gated_delta_rule/sizes.h"

// The public functions for tensors on the CPU, whose shapes and dtypes have been checked.
namespace mudelta::kernels::gated_delta_rule {

void part_states(const GatedDeltaRuleInputs& inputs, const Sizes& sizes, const Tensor& edges, const Tensor& states,
                 const Tensor& transitions);

void part_dstates(const GatedDeltaRuleInputs& inputs, const Sizes& sizes, const Tensor& edges, const Tensor& d_o,
                  const Tensor& dstates);

}  // namespace mudelta::kernels::gated_delta_rule
