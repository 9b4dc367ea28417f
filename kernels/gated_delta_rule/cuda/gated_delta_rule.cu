#include <cstdint>

#include "core/error.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/cuda/memory.h"

namespace mudelta::kernels::cuda {
namespace gated_delta_rule {
namespace {

Tensor empty_chunk_states(const KernelSizes& sizes, Device device) {
  return Tensor::empty({sizes.slots(), sizes.value_heads, sizes.value_dim, sizes.key_dim}, DType::kBFloat16, device);
}

bool is_aligned(const Tensor& tensor) { return reinterpret_cast<std::uintptr_t>(tensor.raw()) % 16 == 0; }

}  // namespace

KernelSizes sizes_of(const GatedDeltaRuleInputs& inputs) {
  return {.tokens = static_cast<int>(inputs.q.size(0)),
          .sequences = static_cast<int>(inputs.cu_seqlens.numel() - 1),
          .heads = static_cast<int>(inputs.q.size(1)),
          .value_heads = static_cast<int>(inputs.v.size(1)),
          .key_dim = static_cast<int>(inputs.q.size(2)),
          .value_dim = static_cast<int>(inputs.v.size(2))};
}

bool is_chunkwise(const GatedDeltaRuleInputs& inputs) {
  return has_chunkwise_kernels(inputs.q.dtype(), inputs.q.size(2), inputs.v.size(2), this_gpu()) &&
         is_aligned(inputs.q) && is_aligned(inputs.k) && is_aligned(inputs.v);
}

void chunkwise_forward(const GatedDeltaRuleInputs& inputs, const Tensor& o, const Tensor& final_state, Saved& saved,
                       bool keep_states, int segment_chunks, Stream stream) {
  const KernelSizes sizes = sizes_of(inputs);
  saved = {.segment_chunks = segment_chunks};
  if (keep_states) saved.chunk_states = empty_chunk_states(sizes, inputs.q.device());
  prepare(inputs, saved, stream);
  if (segment_chunks > 0) {
    const auto empty_matrices = [&](int columns) {
      return Tensor::empty({sizes.segment_slots(segment_rows(saved)), sizes.value_heads, sizes.key_dim, columns},
                           DType::kFloat32, inputs.q.device());
    };
    saved.segment_states = empty_matrices(sizes.value_dim);
    saved.transitions = empty_matrices(sizes.key_dim);
    segment_states(inputs, saved, stream);
    carry_states(inputs, saved, saved.segment_states, Direction::kForward, stream);
  }
  scan(inputs, saved, o, final_state, stream);
}

}  // namespace gated_delta_rule

void gated_delta_rule_forward(const GatedDeltaRuleInputs& inputs, const Tensor& o, const Tensor& final_state,
                              GatedDeltaRuleSaved* saved, GatedDeltaRuleAlgorithm algorithm, Stream stream) {
  using namespace gated_delta_rule;
  // Of a token a sequence, chunks would be empty but for a row.
  const bool is_decoding = saved == nullptr && inputs.q.size(0) <= inputs.cu_seqlens.numel() - 1;
  const bool is_recurrent =
      algorithm == GatedDeltaRuleAlgorithm::kRecurrent || (algorithm == GatedDeltaRuleAlgorithm::kAuto && is_decoding);
  if (is_recurrent || !is_chunkwise(inputs) || !is_aligned(o)) {
    Tensor* chunk_states = saved == nullptr ? nullptr : &saved->content->chunk_states;
    return reference_forward(inputs, o, final_state, chunk_states, stream);
  }
  Saved scratch;
  chunkwise_forward(inputs, o, final_state, saved == nullptr ? scratch : *saved->content,
                    saved != nullptr && saved->keep_states, choose_segment_chunks(sizes_of(inputs), this_gpu().multiprocessors),
                    stream);
}

// The forward pass has chosen between chunkwise and reference kernels.
void gated_delta_rule_backward(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& from_forward,
                               const Tensor& d_o, const Tensor& dfinal_state, const GatedDeltaRuleGradients& gradients,
                               Stream stream) {
  using namespace gated_delta_rule;
  const Saved& saved = *from_forward.content;
  if (!saved.solve.defined())
    return reference_backward(inputs, saved.chunk_states, d_o, dfinal_state, gradients, stream);
  for (const Tensor& tensor : {d_o, gradients.dq, gradients.dk, gradients.dv}) {
    require(is_aligned(tensor), "[gated_delta_rule_backward] {} is not aligned to 16 bytes", tensor.to_string());
  }
  const KernelSizes sizes = sizes_of(inputs);
  const bool has_states = saved.chunk_states.defined();
  const Tensor states = has_states ? saved.chunk_states : empty_chunk_states(sizes, inputs.q.device());
  const Tensor dstates = Tensor::empty({sizes.slots(), sizes.value_heads, sizes.value_dim, sizes.key_dim},
                                       DType::kBFloat16, inputs.q.device());
  Tensor dlast = dfinal_state;
  if (saved.segment_chunks > 0) {
    dlast = Tensor::empty(saved.segment_states.shape(), DType::kFloat32, inputs.q.device());
    segment_dstates(inputs, saved, d_o, dfinal_state, dlast, stream);
    carry_states(inputs, saved, dlast, Direction::kBackward, stream);
  }
  if (has_states) {
    backward_scan(inputs, saved, d_o, dlast, dstates, gradients.dv, gradients.dinitial_state, stream);
  } else if (choose_one_launch(sizes, segment_rows(saved), this_gpu().multiprocessors)) {
    both_scans(inputs, saved, d_o, dlast, states, dstates, gradients.dv, gradients.dinitial_state, stream);
  } else {
    chunk_states(inputs, saved, states, stream);
    backward_scan(inputs, saved, d_o, dlast, dstates, gradients.dv, gradients.dinitial_state, stream);
  }
  chunk_gradients(inputs, saved, d_o, states, dstates, gradients, stream);
}

}  // namespace mudelta::kernels::cuda
