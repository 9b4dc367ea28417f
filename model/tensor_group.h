#pragma once

#include <cstdint>

#include "core/tensor.h"
#include "dist/process_group.h"

namespace mudelta {

// A rank's place among those that share a model.
struct TensorPlace {
  int rank = 0;
  int ranks = 1;
  bool cuts_rows = false;  // each has 1/ranks of the rows of the residual stream
};

// The ranks that share each layer's heads and columns, and the vocabulary (tensor parallelism: Shoeybi et al.,
// "Megatron-LM", arXiv 1909.08053). With cut rows each also holds 1/size of the rows of the residual stream (sequence
// parallelism: Korthikanti et al., arXiv 2205.05198). Methods are collective over the ranks; alone, they do nothing.
class TensorGroup {
 public:
  TensorGroup() : ranks_(ProcessGroup::single()) {}
  // `cuts_rows`: all passes have a multiple of ranks.size() tokens.
  TensorGroup(ProcessGroup ranks, bool cuts_rows)
      : ranks_(std::move(ranks)), cuts_rows_(cuts_rows && ranks_.size() > 1) {}

  int size() const { return ranks_.size(); }
  TensorPlace place() const { return {ranks_.rank(), ranks_.size(), cuts_rows_}; }
  const ProcessGroup& ranks() const { return ranks_; }
  TensorGroup with_whole_rows() const { return {ranks_, false}; }

  // x [this rank's rows, width] -> [all rows, width]; x itself where rows are not cut.
  Tensor all_rows(const Tensor& x, Stream stream) const;
  // partial [all rows, width] -> this rank's rows of the sum over ranks, of the same dtype; may be `partial` itself,
  // whose content is lost.
  Tensor sum(const Tensor& partial, Stream stream) const;

 private:
  ProcessGroup ranks_;
  bool cuts_rows_ = false;
};

}  // namespace mudelta
