#pragma once

#include "core/device.h"
#include "core/dtype.h"

namespace mudelta {

// Floating-point operations per second of a square matrix product, operands of `dtype`: of this process's threads (size
// 1024, float32 result), or of a GPU (size up to 8192, result of `dtype`). The best of repeated runs over about
// `seconds`.
double measure_gemm_peak(DType dtype, Device device, double seconds);

}  // namespace mudelta
