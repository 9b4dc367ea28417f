#pragma once

#include "core/dtype.h"

namespace mudelta {

// Floating-point operations per second of this process's threads in a square matrix product (size 1024, operands of
// `dtype`, float32 result): the best of repeated runs over about `seconds`.
double measure_gemm_peak(DType dtype, double seconds);

}  // namespace mudelta
