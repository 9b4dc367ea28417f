#include "kernels/gated_delta_rule.h"

#include <omp.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "kernels/check.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/gated_delta_rule_plan.h"

namespace mudelta::kernels {
namespace {

using namespace gated_delta_rule;

Shape state_shape(std::int64_t count, const Sizes& sizes) {
  return {count, sizes.value_heads, sizes.key_dim, sizes.value_dim};
}

void expect_states_or_undefined(std::string_view op, std::string_view name, const Tensor& states, const Sizes& sizes) {
  if (states.defined()) expect_tensor(op, name, states, state_shape(sizes.sequences, sizes), DType::kFloat32);
}

Sizes check_inputs(std::string_view op, const GatedDeltaRuleInputs& inputs) {
  const auto expect_heads = [op](std::string_view name, const Tensor& tensor, std::string_view layout) {
    expect_floating(op, name, tensor);
    require(tensor.shape().rank() == 3 && tensor.size(1) > 0 && tensor.size(2) > 0, "[{}] {}: expected {}, got {}", op,
            name, layout, tensor.to_string());
  };
  expect_heads("q", inputs.q, "[tokens, heads, key_dim]");
  expect_heads("v", inputs.v, "[tokens, value_heads, value_dim]");
  Sizes sizes{.tokens = inputs.q.size(0),
              .heads = inputs.q.size(1),
              .value_heads = inputs.v.size(1),
              .key_dim = inputs.q.size(2),
              .value_dim = inputs.v.size(2)};
  require(sizes.value_heads % sizes.heads == 0, "[{}] {} value heads are not a multiple of {} heads", op,
          sizes.value_heads, sizes.heads);
  const DType dtype = inputs.q.dtype();
  expect_tensor(op, "k", inputs.k, inputs.q.shape(), dtype);
  expect_tensor(op, "v", inputs.v, {sizes.tokens, sizes.value_heads, sizes.value_dim}, dtype);
  expect_tensor(op, "g", inputs.g, {sizes.tokens, sizes.value_heads}, DType::kFloat32);
  expect_tensor(op, "beta", inputs.beta, {sizes.tokens, sizes.value_heads}, DType::kFloat32);

  expect_cu_seqlens(op, inputs.cu_seqlens, sizes.tokens);
  sizes.sequences = inputs.cu_seqlens.numel() - 1;
  expect_states_or_undefined(op, "initial_state", inputs.initial_state, sizes);
  return sizes;
}

// Short chunks are the faster ones, but a state is saved for each: they would need key_dim / 32 times the memory of v.
std::int64_t chunk_length(const Sizes& sizes) { return sizes.key_dim <= 64 ? 32 : 64; }

Inputs prepare(const GatedDeltaRuleInputs& inputs, const Sizes& sizes) {
  Chunks chunks{.length = chunk_length(sizes), .first = {0}, .cu_seqlens = inputs.cu_seqlens.data<std::int32_t>()};
  for (std::int64_t i = 0; i < sizes.sequences; ++i) {
    const std::int64_t tokens = chunks.cu_seqlens[i + 1] - chunks.cu_seqlens[i];
    chunks.first.push_back(chunks.first.back() + divide_up(tokens, chunks.length));
  }
  return {.q = head_rows(inputs.q),
          .k = head_rows(inputs.k),
          .v = head_rows(inputs.v),
          .g = inputs.g.data<float>(),
          .beta = inputs.beta.data<float>(),
          .scale = inputs.scale,
          .sizes = sizes,
          .chunks = std::move(chunks)};
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

// Calls body(item, scratch) for all items in parallel. scratch_size(n) is the number of floats that an item of n units
// needs.
template <class ScratchSize, class Body>
void for_each_item(const Sizes& sizes, std::int64_t units, const ScratchSize& scratch_size, const Body& body) {
  const std::int64_t parts = items_per_sequence(sizes, units), count = sizes.sequences * parts;
  const auto threads = static_cast<int>(std::clamp<std::int64_t>(count, 1, omp_get_max_threads()));
  const std::int64_t scratch_per_thread = round_up(scratch_size(divide_up(units, parts)), kPadding);
  const Tensor scratch = Tensor::empty({threads, scratch_per_thread});
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

void gated_delta_rule_forward(const GatedDeltaRuleInputs& inputs, const Tensor& o, const Tensor& final_state,
                              GatedDeltaRuleSaved* saved, GatedDeltaRuleAlgorithm algorithm, Stream stream) {
  constexpr std::string_view kOp = "gated_delta_rule_forward";
  const Sizes sizes = check_inputs(kOp, inputs);
  expect_tensor(kOp, "o", o, inputs.v.shape(), inputs.v.dtype());
  expect_states_or_undefined(kOp, "final_state", final_state, sizes);
  if (o.device().is_cuda()) {
    return cuda::kernel_table().gated_delta_rule_forward(inputs, o, final_state, saved, algorithm, stream);
  }
  const Inputs prepared = prepare(inputs, sizes);
  if (saved != nullptr) saved->chunk_states = Tensor::empty(state_shape(prepared.chunks.total(), sizes));

  const bool recurrent = algorithm != GatedDeltaRuleAlgorithm::kChunkwise;  // never measured to be the slower one
  const ForwardCall call{.inputs = prepared,
                         .o = head_rows(o),
                         .initial_states = all_state_rows(inputs.initial_state),
                         .final_states = all_state_rows(final_state),
                         .chunk_states = all_state_rows(saved == nullptr ? Tensor() : saved->chunk_states),
                         .recurrent = recurrent,
                         .slabs = cut_into_slabs(sizes, recurrent)};
  for_each_item(
      sizes, sizes.value_heads * call.slabs.per_value_head,
      [&](std::int64_t slabs) { return forward_scratch_size(call, slabs); },
      [&](const Item& item, float* scratch) { run_forward_item(call, item, scratch); });
}

void gated_delta_rule_backward(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& d_o,
                               const Tensor& dfinal_state, const GatedDeltaRuleGradients& gradients, Stream stream) {
  constexpr std::string_view kOp = "gated_delta_rule_backward";
  const Sizes sizes = check_inputs(kOp, inputs);
  expect_tensor(kOp, "d_o", d_o, inputs.v.shape(), inputs.v.dtype());
  expect_states_or_undefined(kOp, "dfinal_state", dfinal_state, sizes);
  expect_tensor(kOp, "dq", gradients.dq, inputs.q.shape(), inputs.q.dtype());
  expect_tensor(kOp, "dk", gradients.dk, inputs.k.shape(), inputs.k.dtype());
  expect_tensor(kOp, "dv", gradients.dv, inputs.v.shape(), inputs.v.dtype());
  expect_tensor(kOp, "dg", gradients.dg, inputs.g.shape(), DType::kFloat32);
  expect_tensor(kOp, "dbeta", gradients.dbeta, inputs.beta.shape(), DType::kFloat32);
  expect_states_or_undefined(kOp, "dinitial_state", gradients.dinitial_state, sizes);
  if (d_o.device().is_cuda()) {
    return cuda::kernel_table().gated_delta_rule_backward(inputs, saved, d_o, dfinal_state, gradients, stream);
  }
  const Inputs prepared = prepare(inputs, sizes);
  expect_tensor(kOp, "saved.chunk_states", saved.chunk_states, state_shape(prepared.chunks.total(), sizes),
                DType::kFloat32);

  const BackwardCall call{.inputs = prepared,
                          .chunk_states = all_state_rows(saved.chunk_states),
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

}  // namespace mudelta::kernels
