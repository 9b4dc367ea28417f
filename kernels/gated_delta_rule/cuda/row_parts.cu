#include "kernels/cuda/simt.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "kernels/gated_delta_rule/row_parts.h"
#include "kernels/row_edges.h"

// Made of the public passes, which know the fastest kernels for the shape: M is what a forward pass over values of 0
// makes of the identity, H and dH are the states at the ends of one.
namespace mudelta::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 16;  // of states that a block carries

// states [sequences, value_heads, key_dim, key_dim]: of each sequence that is the whole of a part, which a document
// goes through, the identity.
__global__ void __launch_bounds__(kThreads)
    identities_kernel(const std::int32_t* edges, std::int64_t count, std::int64_t value_heads, std::int64_t key_dim,
                      float* states) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const std::int64_t rows = value_heads * key_dim, row = i % rows;
  const std::int32_t* edge = edges + i / rows * kEdgeColumns;
  if (edge[kFirstSequence] != edge[kLastSequence] || edge[kTokensBefore] == 0) return;
  states[(edge[kFirstSequence] * rows + row) * key_dim + row % key_dim] = 1;
}

// Block (matrix, columns): to += M from, or M^T from.
__global__ void __launch_bounds__(kThreads)
    carry_kernel(const float* transitions, bool transposed, std::int64_t key_dim, std::int64_t value_dim,
                 const float* from, float* to) {
  float* columns = dynamic_shared<float>();  // [key_dim, kColumns]
  const std::int64_t slabs = divide_up(value_dim, kColumns), matrix = blockIdx.x / slabs;
  const std::int64_t column = blockIdx.x % slabs * kColumns + threadIdx.x % kColumns;
  const std::int64_t state = matrix * key_dim * value_dim + column;
  const float* m = transitions + matrix * key_dim * key_dim;
  const std::int64_t step_to_row = transposed ? 1 : key_dim, step_along = transposed ? key_dim : 1;
  for (std::int64_t i = threadIdx.x; i < key_dim * kColumns; i += kThreads) {
    columns[i] = column < value_dim ? from[state + i / kColumns * value_dim] : 0.0f;
  }
  __syncthreads();
  if (column >= value_dim) return;
  for (std::int64_t row = threadIdx.x / kColumns; row < key_dim; row += kThreads / kColumns) {
    float sum = 0;
    for (std::int64_t k = 0; k < key_dim; ++k) {
      sum = fmaf(m[row * step_to_row + k * step_along], columns[k * kColumns + threadIdx.x % kColumns], sum);
    }
    to[state + row * value_dim] += sum;
  }
}

// Of every sequence.
Tensor empty_states(const GatedDeltaRuleInputs& inputs, std::int64_t value_dim) {
  return Tensor::empty({inputs.cu_seqlens.numel() - 1, inputs.v.size(1), inputs.q.size(2), value_dim}, DType::kFloat32,
                       inputs.q.device());
}

Tensor like(const Tensor& x) { return Tensor::empty(x.shape(), x.dtype(), x.device()); }

// Final states (=), from the initial states of `inputs`.
void run_forward(const GatedDeltaRuleInputs& inputs, const Tensor& final_states, Stream stream) {
  gated_delta_rule_forward(inputs, like(inputs.v), final_states, nullptr, GatedDeltaRuleAlgorithm::kAuto, stream);
}

// dinitial_states [sequences, ...] (=): gradients of the states that sequences start from, without those that they end
// with.
void run_backward(const GatedDeltaRuleInputs& inputs, const gated_delta_rule::Saved& saved, const Tensor& d_o,
                  const Tensor& dinitial_states, Stream stream) {
  using namespace gated_delta_rule;
  if (!saved.solve.defined()) {
    const GatedDeltaRuleGradients gradients{like(inputs.q), like(inputs.k),    like(inputs.v),
                                            like(inputs.g), like(inputs.beta), dinitial_states};
    return reference_backward(inputs, saved.chunk_states, d_o, {}, gradients, stream);
  }
  const KernelSizes sizes = sizes_of(inputs);
  const Tensor dstates = Tensor::empty({sizes.slots(), sizes.value_heads, sizes.value_dim, sizes.key_dim},
                                       DType::kBFloat16, inputs.q.device());
  Tensor dlast;
  if (saved.segment_chunks > 0) {
    dlast = like(saved.segment_states);
    segment_dstates(inputs, saved, d_o, {}, dlast, stream);
    carry_states(inputs, saved, dlast, Direction::kBackward, stream);
  }
  backward_scan(inputs, saved, d_o, dlast, dstates, like(inputs.v), dinitial_states, stream);
}

}  // namespace

void row_part_states(const GatedDeltaRuleInputs& given, const Tensor& edges, const Tensor& states,
                     const Tensor& transitions, Stream stream) {
  GatedDeltaRuleInputs inputs = given;
  inputs.initial_state = {};
  const Tensor final_states = empty_states(inputs, inputs.v.size(2));
  run_forward(inputs, final_states, stream);
  kernels::take_from_edges(Edge::kEnd, edges, final_states, states, stream);
  if (!transitions.defined()) return;

  const std::int64_t value_heads = inputs.v.size(1), key_dim = inputs.q.size(2);
  const std::int64_t count = edges.size(0) * value_heads * key_dim;
  inputs.initial_state = empty_states(inputs, key_dim);
  inputs.initial_state.fill_zero();
  launch(identities_kernel, dim3(static_cast<unsigned>(divide_up(count, kThreads))), kThreads, 0, stream,
         edges.data<std::int32_t>(), count, value_heads, key_dim, inputs.initial_state.data<float>());
  inputs.v = Tensor::zeros({inputs.v.size(0), value_heads, key_dim}, inputs.v.dtype(), inputs.v.device());
  run_forward(inputs, inputs.initial_state, stream);
  kernels::take_from_edges(Edge::kEnd, edges, inputs.initial_state, transitions, stream);
}

void row_part_dstates(const GatedDeltaRuleInputs& inputs, const GatedDeltaRuleSaved& saved, const Tensor& edges,
                      const Tensor& d_o, const Tensor& dstates, Stream stream) {
  const Tensor dinitial_states = empty_states(inputs, inputs.v.size(2));
  run_backward(inputs, *saved.content, d_o, dinitial_states, stream);
  kernels::take_from_edges(Edge::kBegin, edges, dinitial_states, dstates, stream);
}

void add_carried_states(const Tensor& transitions, bool transposed, const Tensor& from, const Tensor& to,
                        Stream stream) {
  const std::int64_t key_dim = from.size(2), value_dim = from.size(3);
  const std::int64_t blocks = from.size(0) * from.size(1) * divide_up(value_dim, kColumns);
  launch(carry_kernel, dim3(static_cast<unsigned>(blocks)), kThreads,
         key_dim * kColumns * static_cast<std::int64_t>(sizeof(float)), stream, transitions.data<float>(), transposed,
         key_dim, value_dim, from.data<float>(), to.data<float>());
}

}  // namespace mudelta::kernels::cuda
