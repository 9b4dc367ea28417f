#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// y = silu(gate) * up. All of one shape and dtype (float32 or bfloat16); y (=), may be gate or up itself.
void swiglu_forward(const Tensor& gate, const Tensor& up, const Tensor& y, Stream stream);

// dgate, dup (=), may be gate and up themselves.
void swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy, const Tensor& dgate, const Tensor& dup,
                     Stream stream);

}  // namespace mudelta::kernels
