#pragma once

#include <cstdint>

#include "core/gpu.h"
#include "core/shape.h"
#include "kernels/gated_delta_rule/memory.h"

// What the CUDA kernels allocate, told without a GPU.
namespace mudelta::kernels::cuda {

// gated_delta_rule_memory() on that GPU.
GatedDeltaRuleMemory gated_delta_rule_memory(const kernels::gated_delta_rule::Sizes& sizes, DType dtype,
                                             bool keep_states, const gpu::DeviceInfo& gpu);

namespace gated_delta_rule {

// This process's GPU; where there is none, an H100. (Asking the driver takes longer than a launch.)
const gpu::DeviceInfo& this_gpu();

// Whether the chunkwise kernels are for such inputs, on that GPU.
bool has_chunkwise_kernels(DType dtype, std::int64_t key_dim, std::int64_t value_dim, const gpu::DeviceInfo& gpu);

// Of Saved::gates, and of Saved::solve and scores.
Shape gates_shape(std::int64_t slots, std::int64_t value_heads);
Shape squares_shape(std::int64_t slots, std::int64_t value_heads);

}  // namespace gated_delta_rule

}  // namespace mudelta::kernels::cuda
