#include "kernels/gated_delta_rule/cpu/passes.h"

#include <omp.h>

#include <algorithm>

#include "kernels/gated_delta_rule/cpu/plan.h"

namespace mudelta::kernels::gated_delta_rule {
namespace {

// Short chunks are the faster ones, but a state is saved for each: they would need key_dim / 32 times the memory of v.
std::int64_t chunk_length(const Sizes& sizes) { return sizes.key_dim <= 64 ? 32 : 64; }

Chunks cut_into_chunks(const GatedDeltaRuleInputs& inputs, const Sizes& sizes) {
  Chunks chunks{.length = chunk_length(sizes), .first = {0}, .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>()};
  for (std::int64_t i = 0; i < sizes.sequences; ++i) {
    const std::int64_t tokens = chunks.cu_seqlens[i + 1] - chunks.cu_seqlens[i];
    chunks.first.push_back(chunks.first.back() + divide_up(tokens, chunks.length));
  }
  return chunks;
}

Inputs prepare(const GatedDeltaRuleInputs& inputs, const Sizes& sizes) {
  return {.q = head_rows(inputs.q),
          .k = head_rows(inputs.k),
          .v = head_rows(inputs.v),
          .g = inputs.g.data<float>(),
          .beta = inputs.beta.data<float>(),
          .scale = inputs.scale,
          .sizes = sizes,
          .chunks = cut_into_chunks(inputs, sizes)};
}

// How many items each sequence, with `units` slabs or heads, is divided into: few, but enough to keep all threads busy,
// and so many that the states of an item stay in the second-level cache.
std::int64_t items_per_sequence(const Sizes& sizes, std::int64_t units) {
  constexpr std::int64_t kItemsPerThread = 4, kCacheFloats = 1 << 17;
  const std::int64_t for_threads =
      divide_up(kItemsPerThread * omp_get_max_threads(), std::max<std::int64_t>(sizes.sequences, 1));
  const std::int64_t for_cache = divide_up(sizes.value_heads * sizes.key_dim * sizes.value_dim, kCacheFloats);
  return std::min(std::max(for_threads, for_cache), units);
}

// [threads, floats of each] where an item of n units needs scratch_size(n) floats.
template <class ScratchSize>
Shape scratch_shape(const Sizes& sizes, std::int64_t units, const ScratchSize& scratch_size) {
  const std::int64_t parts = items_per_sequence(sizes, units);
  const auto threads = std::clamp<std::int64_t>(sizes.sequences * parts, 1, omp_get_max_threads());
  return {threads, round_up(scratch_size(divide_up(units, parts)), kPadding)};
}

// Calls body(item, scratch) for all items in parallel.
template <class ScratchSize, class Body>
void for_each_item(const Sizes& sizes, std::int64_t units, const ScratchSize& scratch_size, const Body& body) {
  const std::int64_t parts = items_per_sequence(sizes, units), count = sizes.sequences * parts;
  const Tensor scratch = Tensor::empty(scratch_shape(sizes, units, scratch_size));
  const auto threads = static_cast<int>(scratch.size(0));
  const std::int64_t scratch_per_thread = scratch.size(1);
  float* memory = scratch.data<float>();
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t part = i % parts;
    body(Item{.sequence = i / parts, .begin = units * part / parts, .end = units * (part + 1) / parts},
         memory + omp_get_thread_num() * scratch_per_thread);
  }
}

// More slabs than value heads where there would be fewer items than threads, and in the recurrent form where the part
// of the state that belongs to a slab would not stay in the first-level cache.
Slabs cut_into_slabs(const Sizes& sizes, bool recurrent) {
  constexpr std::int64_t kCacheFloats = 5120, kMinCachedColumns = 2 * kPadding;
  const std::int64_t heads = std::max<std::int64_t>(sizes.sequences, 1) * sizes.value_heads;
  std::int64_t per_value_head = divide_up(omp_get_max_threads(), heads);
  if (recurrent) {
    const std::int64_t cached_columns = std::max(kCacheFloats / sizes.key_dim, kMinCachedColumns);
    per_value_head = std::max(per_value_head, divide_up(sizes.value_dim, cached_columns));
  }
  const std::int64_t width = round_up(divide_up(sizes.value_dim, per_value_head), kPadding);
  return {.width = width, .per_value_head = divide_up(sizes.value_dim, width)};
}

}  // namespace

Shape chunk_states_shape(const GatedDeltaRuleInputs& inputs, const Sizes& sizes) {
  return {cut_into_chunks(inputs, sizes).total(), sizes.value_heads, sizes.key_dim, sizes.value_dim};
}

void forward(const GatedDeltaRuleInputs& inputs, const Sizes& sizes, const Tensor& o, const Tensor& final_state,
             const Tensor& chunk_states, GatedDeltaRuleAlgorithm algorithm) {
  const Inputs prepared = prepare(inputs, sizes);
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
  const Inputs prepared = prepare(inputs, sizes);
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
