#pragma once

#include <omp.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/gated_delta_rule/cpu/plan.h"
#include "kernels/gated_delta_rule/gated_delta_rule.h"

// How the passes on the CPU are cut into items that threads work on.
namespace mudelta::kernels::gated_delta_rule {

// Short chunks are the faster ones, but a state is saved for each: they would need key_dim / 32 times the memory of v.
inline std::int64_t chunk_length(const Sizes& sizes) { return sizes.key_dim <= 64 ? 32 : 64; }

inline Chunks cut_into_chunks(std::vector<Rows> sequences, const Sizes& sizes) {
  Chunks chunks{.length = chunk_length(sizes), .first = {0}, .sequences = std::move(sequences)};
  for (const Rows& tokens : chunks.sequences) {
    chunks.first.push_back(chunks.first.back() + divide_up(tokens.count(), chunks.length));
  }
  return chunks;
}

inline std::vector<Rows> all_sequences(const Tensor& cu_seqlens) {
  const auto bounds = cu_seqlens.span<std::int32_t>();
  std::vector<Rows> sequences;
  for (std::size_t i = 1; i < bounds.size(); ++i) sequences.push_back({bounds[i - 1], bounds[i]});
  return sequences;
}

// `sizes.sequences` are those given.
inline Inputs prepare(const GatedDeltaRuleInputs& inputs, const Sizes& sizes, std::vector<Rows> sequences) {
  return {.q = head_rows(inputs.q),
          .k = head_rows(inputs.k),
          .v = head_rows(inputs.v),
          .g = inputs.g.data<float>(),
          .beta = inputs.beta.data<float>(),
          .scale = inputs.scale,
          .sizes = sizes,
          .chunks = cut_into_chunks(std::move(sequences), sizes)};
}

// How many items each sequence, with `units` slabs or heads, is divided into: few, but enough to keep all threads busy,
// and so many that the states of an item stay in the second-level cache.
inline std::int64_t items_per_sequence(const Sizes& sizes, std::int64_t units) {
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
inline Slabs cut_into_slabs(const Sizes& sizes, bool recurrent) {
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

}  // namespace mudelta::kernels::gated_delta_rule
