#include "kernels/gated_delta_rule/cuda/memory.h"

#include <algorithm>
#include <limits>

#include "core/divide_up.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/cuda/reference_layout.h"

namespace mudelta::kernels::cuda {
namespace {

GatedDeltaRuleMemory reference_memory(const kernels::gated_delta_rule::Sizes& s) {
  const std::int64_t slabs = divide_up(s.value_dim, reference::kSlab);
  const std::int64_t items = s.sequences * s.value_heads * slabs;
  const std::int64_t thread_rows = divide_up(s.key_dim, reference::kRowGroups);
  GatedDeltaRuleMemory memory;
  memory.saved.add({s.tokens / reference::kChunk + s.sequences, s.value_heads, s.key_dim, s.value_dim},
                   DType::kFloat32);
  memory.backward.add({std::min(items, reference::kMaxBlocks), reference::kChunk, thread_rows * reference::kThreads},
                      DType::kFloat32);
  memory.backward.add({slabs, s.tokens, s.value_heads, 2 * s.key_dim + 2}, DType::kFloat32);
  return memory;
}

}  // namespace

namespace gated_delta_rule {

const gpu::DeviceInfo& this_gpu() {
  static const gpu::DeviceInfo info = [] {
    const std::vector<gpu::DeviceInfo> gpus = gpu::devices();
    return gpus.empty() ? gpu::DeviceInfo{.multiprocessors = 132, .block_shared_bytes = 227 * 1024}
                        : gpus.at(static_cast<std::size_t>(gpu::current_device()));
  }();
  return info;
}

bool has_chunkwise_kernels(DType dtype, std::int64_t key_dim, std::int64_t value_dim, const gpu::DeviceInfo& gpu) {
  const bool has_key_dim =
      key_dim == 32 || key_dim == 64 || key_dim == 96 || key_dim == 128 || key_dim == 192 || key_dim == 256;
  return dtype == DType::kBFloat16 && has_key_dim && value_dim % 16 == 0 && value_dim <= 512 &&
         gpu.block_shared_bytes >= kMostSharedBytes;
}

Shape gates_shape(std::int64_t slots, std::int64_t value_heads) { return {slots, value_heads, 4, kChunk}; }
Shape squares_shape(std::int64_t slots, std::int64_t value_heads) { return {slots, value_heads, 10, 16, 16}; }

}  // namespace gated_delta_rule

GatedDeltaRuleMemory gated_delta_rule_memory(const kernels::gated_delta_rule::Sizes& sizes, DType dtype,
                                             bool keep_states, const gpu::DeviceInfo& gpu) {
  using namespace gated_delta_rule;
  if (!has_chunkwise_kernels(dtype, sizes.key_dim, sizes.value_dim, gpu)) return reference_memory(sizes);
  const auto narrow = [](std::int64_t size) {  // more tokens than an int counts are too many for the kernels anyway
    return static_cast<int>(std::min<std::int64_t>(size, std::numeric_limits<int>::max()));
  };
  const int segment_chunks = choose_segment_chunks({.tokens = narrow(sizes.tokens),
                                                    .sequences = narrow(sizes.sequences),
                                                    .heads = narrow(sizes.heads),
                                                    .value_heads = narrow(sizes.value_heads),
                                                    .key_dim = narrow(sizes.key_dim),
                                                    .value_dim = narrow(sizes.value_dim)},
                                                   gpu.multiprocessors);
  const std::int64_t slots = sizes.tokens / kChunk + sizes.sequences;

  GatedDeltaRuleMemory memory;
  LiveTensors states;
  states.add({slots, sizes.value_heads, sizes.key_dim, sizes.value_dim}, DType::kBFloat16);
  memory.saved.add(gates_shape(slots, sizes.value_heads), DType::kFloat32);
  for (int i = 0; i < 2; ++i) memory.saved.add(squares_shape(slots, sizes.value_heads), DType::kBFloat16);
  if (segment_chunks > 0) {
    const std::int64_t segments = sizes.tokens / (kChunk * segment_chunks) + sizes.sequences;
    memory.saved.add({segments, sizes.value_heads, sizes.key_dim, sizes.value_dim}, DType::kFloat32);
    memory.saved.add({segments, sizes.value_heads, sizes.key_dim, sizes.key_dim}, DType::kFloat32);
    memory.backward.add({segments, sizes.value_heads, sizes.key_dim, sizes.value_dim}, DType::kFloat32);
  }
  memory.forward = memory.saved;
  memory.backward.add(keep_states ? 1 : 2, states);
  if (keep_states) memory.saved.add(states);
  return memory;
}

}  // namespace mudelta::kernels::cuda
