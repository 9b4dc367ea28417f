#pragma once

#include <functional>
#include <string_view>

#include "core/device.h"
#include "core/tensor.h"
#include "model/activations.h"
#include "model/context_group.h"
#include "model/tensor_group.h"

namespace mudelta {

// Told of the tensors that a forward pass makes, by name and block (-1: outside of blocks). Later layers may overwrite
// them: what is to stay must be copied in the call.
using Observer = std::function<void(std::string_view name, int layer, const Tensor& tensor)>;

// What all layers of one pass over a microbatch share. Tokens of all sequences stand one after another: activations
// are [tokens, ...] and cu_seqlens tells where each sequence begins. The residual stream and what is made of its rows
// alone have this rank's rows where the tensor group cuts them, everything else has all rows.
struct Pass {
  Tensor cu_seqlens;                      // [sequences + 1] int32
  Tensor edges;                           // of the parts that this rank has of rows (kernels/row_edges.h), where...
  ContextGroup context;                   // ...each rank has a part
  DType compute_dtype = DType::kFloat32;  // of matrices and activations; the residual stream is float32 always
  Stream stream;
  TensorGroup tensor;
  Activations activations;
  Observer observer;  // mostly none
  int layer = -1;     // the block that is running

  // A pass over the same tokens with activations of its own, which nobody observes.
  Pass fork(Activations::Mode mode) const {
    return {cu_seqlens, edges, context, compute_dtype, stream, tensor, Activations(mode), {}};
  }

  void observe(std::string_view name, const Tensor& observed) const {
    if (observer) observer(name, layer, observed);
  }
};

}  // namespace mudelta
