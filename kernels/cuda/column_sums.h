#pragma once

#include "core/device.h"
#include "core/tensor.h"

namespace mudelta::kernels::cuda {

// total [n] += the sums over the rows of partials [rows, n], both float32; the order depends on the shape only. The
// second stage of sums over tokens, whose first stage leaves one row a block.
void add_column_sums(const Tensor& partials, const Tensor& total, Stream stream);

}  // namespace mudelta::kernels::cuda
