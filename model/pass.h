#pragma once

#include "core/device.h"
#include "core/tensor.h"
#include "model/activations.h"

namespace mudelta {

// What all layers of one pass over a microbatch share. Tokens of all sequences stand one after another: activations
// are [tokens, ...] and cu_seqlens tells where each sequence begins.
struct Pass {
  Tensor cu_seqlens;                      // [sequences + 1] int32
  DType compute_dtype = DType::kFloat32;  // of matrices and activations; the residual stream is float32 always
  Stream stream;
  Activations activations;
};

}  // namespace mudelta
