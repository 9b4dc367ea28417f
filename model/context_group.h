#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "dist/process_group.h"

namespace mudelta {

// What a rank's parts of rows do to the states of documents that go through them
// (kernels/gated_delta_rule/row_parts.h). Views of one buffer, which travels.
struct PartStates {
  Tensor all;
  Tensor states;       // [parts, heads, key_dim, value_dim] float32: H; backward dH
  Tensor transitions;  // [parts, heads, key_dim, key_dim] float32: M

  static PartStates zeros(std::int64_t parts, std::int64_t heads, std::int64_t key_dim, std::int64_t value_dim,
                          Device device);
};

// The ranks that share the tokens of each row (context parallelism): each has a part of every row, as
// kernels/row_edges.h has it, in the order of ranks. What a document leaves to its next tokens goes from rank to rank:
// states of the mixer, and the rows that short convolutions see. Methods are collective over the ranks.
class ContextGroup {
 public:
  ContextGroup() : ranks_(ProcessGroup::single()) {}
  explicit ContextGroup(ProcessGroup ranks) : ranks_(std::move(ranks)) {}

  int size() const { return ranks_.size(); }
  int rank() const { return ranks_.rank(); }
  bool is_first() const { return rank() == 0; }
  bool is_last() const { return rank() + 1 == size(); }

  // What documents come in with, [parts, heads, key_dim, value_dim], from what each rank's parts do. Zeros on the first
  // rank. The first rank's M and all of the last one's do not count.
  Tensor states_before(const PartStates& own, Stream stream) const;
  // The gradients of what documents leave with, from every rank's M and the dH of its parts. Zeros on the last rank.
  Tensor dstates_after(const PartStates& own, Stream stream) const;

  // What a short convolution of so many taps sees of the rows before each sequence, [sequences, taps - 1, channels]
  // float32, for each x [tokens, channels] of `xs`, all of one dtype. Undefined without such rows.
  std::vector<Tensor> rows_before(std::span<const Tensor> xs, const Tensor& edges, std::int64_t sequences,
                                  std::int64_t taps, Stream stream) const;
  // dxs += what other ranks have of their gradients: `dbefore` are the gradients of what rows_before() gave, of each.
  void add_row_gradients(std::span<const Tensor> dbefore, const Tensor& edges, std::span<const Tensor> dxs,
                         Stream stream) const;

 private:
  // [...] -> [ranks, ...]
  Tensor gather(const Tensor& own, Stream stream) const;
  std::vector<PartStates> gather(const PartStates& own, Stream stream) const;

  ProcessGroup ranks_;
};

}  // namespace mudelta
