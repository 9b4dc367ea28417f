#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// total += the sum over all elements (or weight x that of their squares), accumulated in float64 in an order that
// depends on the number of elements only.
// x float32 or bfloat16; total [1] float64 (+=), on x's device. A NaN or infinity in x shows in the result.
void add_sum(const Tensor& x, const Tensor& total, Stream stream);
void add_sum_of_squares(const Tensor& x, double weight, const Tensor& total, Stream stream);

// The same as a number: the host waits for the stream.
double sum(const Tensor& x, Stream stream);
double sum_of_squares(const Tensor& x, Stream stream);

}  // namespace mudelta::kernels
