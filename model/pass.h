#pragma once

#include <functional>
#include <string_view>

#include "core/device.h"
#include "core/tensor.h"
#include "model/activations.h"

namespace mudelta {

// Told of the tensors that a forward pass makes, by name and block (-1: outside of blocks). Later layers may overwrite
// them: what is to stay must be copied in the call.
using Observer = std::function<void(std::string_view name, int layer, const Tensor& tensor)>;

// What all layers of one pass over a microbatch share. Tokens of all sequences stand one after another: activations
// are [tokens, ...] and cu_seqlens tells where each sequence begins.
struct Pass {
  Tensor cu_seqlens;                      // [sequences + 1] int32
  DType compute_dtype = DType::kFloat32;  // of matrices and activations; the residual stream is float32 always
  Stream stream;
  Activations activations;
  Observer observer;  // mostly none
  int layer = -1;     // the block that is running

  void observe(std::string_view name, const Tensor& tensor) const {
    if (observer) observer(name, layer, tensor);
  }
};

}  // namespace mudelta
