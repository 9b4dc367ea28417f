#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// y += x. y float32; x float32 or bfloat16, of the same shape.
void add_to(const Tensor& x, const Tensor& y, Stream stream);

// y *= factor; y float32.
void scale(const Tensor& y, float factor, Stream stream);

// y = x, converted to y's dtype (float32 or bfloat16, rounded to nearest even).
void convert(const Tensor& x, const Tensor& y, Stream stream);

}  // namespace mudelta::kernels
