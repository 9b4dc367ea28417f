#pragma once

#include "core/device.h"
#include "core/parameter_slice.h"
#include "core/tensor.h"

namespace mudelta::kernels {

// Between a run of elements of a rank's part of a parameter and their places in the whole one: `part` [n] are elements
// begin to begin + n of the flattened local part that `map` describes, `whole` has as many elements as the parameter.
// Both float32. Other elements of the target stay as they are.
void put_part(const SliceMap& map, std::int64_t begin, const Tensor& part, const Tensor& whole, Stream stream);
void take_part(const SliceMap& map, std::int64_t begin, const Tensor& whole, const Tensor& part, Stream stream);

}  // namespace mudelta::kernels
