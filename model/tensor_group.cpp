#include "model/tensor_group.h"

namespace mudelta {

Tensor TensorGroup::all_rows(const Tensor& x, Stream stream) const {
  if (!cuts_rows_) return x;
  const Tensor all = Tensor::empty({x.size(0) * size(), x.size(1)}, x.dtype(), x.device());
  ranks_.all_gather(x, all, stream);
  return all;
}

Tensor TensorGroup::sum(const Tensor& partial, Stream stream) const {
  if (size() == 1) return partial;
  if (!cuts_rows_) {
    ranks_.all_reduce(partial, ReduceOp::kSum, stream);
    return partial;
  }
  const Tensor rows = Tensor::empty({partial.size(0) / size(), partial.size(1)}, partial.dtype(), partial.device());
  ranks_.reduce_scatter(partial, rows, stream);
  return rows;
}

}  // namespace mudelta
