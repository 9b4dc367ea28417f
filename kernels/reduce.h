#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// Sums over all elements, accumulated in float64 in an order that depends on the number of elements only.
// x float32 or bfloat16. A NaN or infinity in x shows in the result.
double sum(const Tensor& x, Stream stream);
double sum_of_squares(const Tensor& x, Stream stream);

}  // namespace mudelta::kernels
