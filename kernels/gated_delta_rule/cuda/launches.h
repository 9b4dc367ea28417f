#pragma once

#include <limits>

#include "core/divide_up.h"
#include "kernels/gated_delta_rule/gated_delta_rule.h"
#include "kernels/gated_delta_rule/saved.h"

// What the CUDA kernels of the gated delta rule share. Tokens are processed in chunks of kChunk rows of one sequence.
// With S the state a chunk starts from, c the cumulative sum of g within it, L its last row, G_ij = e^{c_i - c_j} for
// i >= j and 0 above, "." elementwise, and e^c scaling rows, the chunk's part of the recurrence is
//   T = (I + diag(beta) stril(K K^T))^-1     free of gates
//   W = V - e^c (K S)     N = (T . G) diag(beta) W
//   O = scale e^c (Q S) + scale ((Q K^T) . G) N     S' = e^{c_L} S + (e^{c_L - c} K)^T N
// following Yang, Kautz, Hatamizadeh (arXiv 2412.06464), with their w and u folded into W. Rows past the end of a
// sequence have q = k = v = beta = 0 and c = c_L. Only differences of c that are <= 0 are exponentiated.
//
// Chunk j of sequence s has slot cu_seqlens[s] / kChunk + s + j: known without looking at other sequences, at the price
// of some slots that no chunk uses.
//
// Where there are too few sequences and value heads for a GPU, sequences are cut into segments of whole chunks that are
// worked on side by side. A segment takes the state S that it starts from to H + M S, with M [key_dim, key_dim]; so
//   1. segment_states: H, the state it ends with from zero, and M, what the same scan makes of the identity with v = 0;
//   2. carry_states: the states that segments start from, S_{i+1} = H_i + M_i S_i, in float32;
//   3. scan: each segment from its S_i, as if it were a sequence.
// The first segment starts from the initial state in 1 already, and nothing follows the last, so that neither needs an
// M. Gradients go the other way with the same M: dS_{i-1} = dH_i + M_i^T dS_i. Segment j of sequence s has slot
// cu_seqlens[s] / rows + s + j for segments of `rows` tokens; an empty sequence has one.
namespace mudelta::kernels::cuda {

inline float* data_or_null(const Tensor& tensor) { return tensor.defined() ? tensor.data<float>() : nullptr; }

}  // namespace mudelta::kernels::cuda

namespace mudelta::kernels::cuda::gated_delta_rule {

using kernels::gated_delta_rule::Saved;

constexpr int kChunk = 64;
constexpr std::int64_t kMostSharedBytes = 163 * 1024;  // that a block uses: what sm_80 and sm_90 have

// Sizes, as kernels take them.
struct KernelSizes {
  int tokens, sequences, heads, value_heads, key_dim, value_dim;

  int slots() const { return tokens / kChunk + sequences; }
  int segment_slots(int segment_rows) const { return tokens / segment_rows + sequences; }
};
KernelSizes sizes_of(const GatedDeltaRuleInputs& inputs);

// Tokens of a segment; with no segments, more than any sequence has.
inline int segment_rows(const Saved& saved) {
  return saved.segment_chunks == 0 ? std::numeric_limits<int>::max() : saved.segment_chunks * kChunk;
}

// Whether the chunkwise kernels take these inputs: bfloat16, key_dim 32, 64, 96, 128, 192 or 256, value_dim a multiple
// of 16 up to 512, tensors aligned to 16 bytes, on a GPU with kMostSharedBytes a block. Others go to the reference
// kernels.
bool is_chunkwise(const GatedDeltaRuleInputs& inputs);

// Calls f.operator()<kKeyDim>() for a key_dim that is_chunkwise.
template <class F>
void dispatch_key_dim(int key_dim, F&& f) {
  switch (key_dim) {
    case 32: return f.template operator()<32>();
    case 64: return f.template operator()<64>();
    case 96: return f.template operator()<96>();
    case 128: return f.template operator()<128>();
    case 192: return f.template operator()<192>();
    case 256: return f.template operator()<256>();
    default: fail("the chunkwise gated delta rule has no kernels for key_dim {}", key_dim);
  }
}

// ---- gated_delta_rule.cu

// The public forward pass by chunkwise kernels, in segments of `segment_chunks` chunks; 0: in none. saved (=).
void chunkwise_forward(const GatedDeltaRuleInputs& inputs, const Tensor& o, const Tensor& final_state, Saved& saved,
                       bool keep_states, int segment_chunks, Stream stream);

// ---- segment_choice.cpp

// Chunks a segment for a GPU with so many multiprocessors; 0: no segments, which would gain too little.
int choose_segment_chunks(const KernelSizes& sizes, int multiprocessors);

// ---- segments.cu

enum class Direction { kForward, kBackward };

// `states` [segment slots, value_heads, key_dim, value_dim] float32, from segment i = 1 of each sequence to its last
// but one: states[i + 1] += M_i states[i]. Backward the other way: states[i - 1] += M_i^T states[i].
void carry_states(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& states, Direction direction,
                  Stream stream);

// ---- prepare.cu

// Allocates and fills saved.gates, saved.solve and saved.scores.
void prepare(const GatedDeltaRuleInputs& inputs, Saved& saved, Stream stream);

// ---- scan.cu

// Value columns of a block of scan or backward_scan: 64, or, of key_dim 64 and 128 alone, 128.
enum class Slabs { kChosen, kNarrow, kWide };

// Whether scans of so many states go by blocks of 8 warps, each with 128 value columns, instead of 4 with 64: these
// share more of the tiles that they load. Not where the narrow ones would have a multiprocessor each.
inline bool choose_wide_slabs(std::int64_t states, int value_dim, int multiprocessors) {
  constexpr int kWideSlab = 128;
  return value_dim > kWideSlab / 2 && 2 * states * divide_up(value_dim, kWideSlab) > multiprocessors;
}
inline bool are_wide(Slabs slabs, std::int64_t states, int value_dim, int multiprocessors) {
  return slabs == Slabs::kChosen ? choose_wide_slabs(states, value_dim, multiprocessors) : slabs == Slabs::kWide;
}

// Fills saved.segment_states, of which carry_states makes what the functions below want, and saved.transitions.
void segment_states(const GatedDeltaRuleInputs& inputs, const Saved& saved, Stream stream);

// o and final_state (may be undefined) as in the public function, and saved.chunk_states if it is defined, as
// chunk_states has them. With segments, from saved.segment_states.
void scan(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& o, const Tensor& final_state,
          Stream stream, Slabs slabs = Slabs::kChosen);

// states [slots, value_heads, value_dim, key_dim] bfloat16 (=): the state that each chunk starts from, transposed.
// Slots without a chunk are not written.
void chunk_states(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& states, Stream stream);

// ---- backward_scan.cu

// dsegments (=), like saved.segment_states: gradients of the states that segments end with, of which carry_states makes
// what backward_scan wants.
void segment_dstates(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& d_o,
                     const Tensor& dfinal_state, const Tensor& dsegments, Stream stream);

// dstates [slots, value_heads, value_dim, key_dim] bfloat16 (=): gradient of the state that each chunk ends with,
// transposed. dy (=), dtype and shape of v: gradient of beta W, which is dv / beta. dinitial_state (=) may be
// undefined. With segments, dfinal_state is the dsegments.
void backward_scan(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& d_o,
                   const Tensor& dfinal_state, const Tensor& dstates, const Tensor& dy, const Tensor& dinitial_state,
                   Stream stream, Slabs slabs = Slabs::kChosen);

// ---- both_scans.cu

// Where the forward pass has not kept them: whether chunk_states and backward_scan are one launch on a GPU with so many
// multiprocessors: where either alone would leave some without a block.
bool choose_one_launch(const KernelSizes& sizes, int segment_rows, int multiprocessors);

// chunk_states and backward_scan in one launch; the same bits.
void both_scans(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& d_o, const Tensor& dfinal_state,
                const Tensor& states, const Tensor& dstates, const Tensor& dy, const Tensor& dinitial_state,
                Stream stream);

// ---- gradients.cu

// All gradients but dinitial_state (=), from `states` of chunk_states and `dstates` of backward_scan. gradients.dv
// holds the dy of backward_scan before.
void chunk_gradients(const GatedDeltaRuleInputs& inputs, const Saved& saved, const Tensor& d_o, const Tensor& states,
                     const Tensor& dstates, const GatedDeltaRuleGradients& gradients, Stream stream);

}  // namespace mudelta::kernels::cuda::gated_delta_rule

namespace mudelta::kernels::cuda {

// ---- reference.cu

// The public functions token by token, for every shape and dtype that they allow. *chunk_states (=) is made unless it
// is null.
void reference_forward(const GatedDeltaRuleInputs& inputs, const Tensor& o, const Tensor& final_state,
                       Tensor* chunk_states, Stream stream);
void reference_backward(const GatedDeltaRuleInputs& inputs, const Tensor& chunk_states, const Tensor& d_o,
                        const Tensor& dfinal_state, const GatedDeltaRuleGradients& gradients, Stream stream);

}  // namespace mudelta::kernels::cuda
