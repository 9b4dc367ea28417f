#pragma once

#include <cstdint>

#include "kernels/gated_delta_rule/memory.h"

namespace mudelta::kernels::cuda {

// Of reference_forward and reference_backward (launches.h).
GatedDeltaRuleMemory reference_memory(const kernels::gated_delta_rule::Sizes& sizes);

namespace gated_delta_rule {
// What prepare() (launches.h) allocates.
LiveTensors prepared_memory(std::int64_t slots, std::int64_t value_heads);
}  // namespace gated_delta_rule

}  // namespace mudelta::kernels::cuda
