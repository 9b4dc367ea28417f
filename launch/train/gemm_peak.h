#pragma once

#include "core/device.h"
#include "core/dtype.h"
#include "dist/process_group.h"

namespace mudelta {

// Floating-point operations per second of a square matrix product, operands of `dtype`: of this process's threads (size
// 1024, float32 result), or of a GPU (size up to 8192, result of `dtype`). The best of repeated runs over about
// `seconds`.
double measure_gemm_peak(DType dtype, Device device, double seconds);

// The rate that MFU is a share of, of all ranks of a group together: of products in float32 on a CPU, whatever a run
// computes in, and in its compute dtype on a GPU. Where other programs share the machine a sample may be far too low:
// the largest of several counts, taken at different times.
class MfuPeak {
 public:
  // Takes the first sample. Collective.
  MfuPeak(DType compute_dtype, Device device, ProcessGroup group);

  // Takes a tenth of a second or so on a CPU; much more on a GPU, for operands of its size. Collective.
  void sample();
  double flops_per_second() const { return of_group_; }

 private:
  DType dtype_;
  Device device_;
  ProcessGroup group_;
  double largest_ = 0;  // of this rank
  double of_group_ = 0;
};

}  // namespace mudelta
