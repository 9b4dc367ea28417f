#pragma once

#include "core/device.h"
#include "core/live_tensors.h"
#include "kernels/gated_delta_rule/sizes.h"

namespace mudelta::kernels {

// What the passes of the gated delta rule allocate beside the tensors that they are given.
struct GatedDeltaRuleMemory {
  LiveTensors saved;              // what the forward pass leaves in its GatedDeltaRuleSaved
  LiveTensors forward, backward;  // while a pass runs: the forward pass that saves nothing; the backward pass
};

// For inputs of such sizes and of dtype `dtype` on `device`, with the `keep_states` of GatedDeltaRuleSaved. How long
// each sequence is decides how many chunks it has: what is saved for them is right for long ones, and on average.
GatedDeltaRuleMemory gated_delta_rule_memory(const gated_delta_rule::Sizes& sizes, DType dtype, bool keep_states,
                                             Device device);

}  // namespace mudelta::kernels
