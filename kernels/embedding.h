#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// y[t] = table[tokens[t]]. table [vocab, width] float32 or bfloat16; tokens [n] int32; y [n, width] float32 (=).
// Throws Error if a token is outside [0, vocab).
void embedding_forward(const Tensor& table, const Tensor& tokens, const Tensor& y, Stream stream);

// dtable[tokens[t]] += dy[t]. dy [n, width] float32; dtable [vocab, width] float32 (+=). The order of summation
// depends on the tokens only.
void embedding_backward(const Tensor& tokens, const Tensor& dy, const Tensor& dtable, Stream stream);

}  // namespace mudelta::kernels
