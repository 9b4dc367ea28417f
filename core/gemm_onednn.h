#pragma once

#include "core/gemm.h"

namespace mudelta {

// A product of matrices that fit together: op(a) [m, k], op(b) [k, n].
struct GemmProblem {
  std::int64_t m, n, k;
  GemmOptions options;
};

}  // namespace mudelta

// oneDNN's part in gemm() on the CPU; no dimension is 0.
namespace mudelta::onednn {

void gemm_float32(const Tensor& a, const Tensor& b, const Tensor& c, const GemmProblem& problem);

// Of bfloat16 operands as they are; needs can_multiply_bfloat16(). CPUs without has_fast_bfloat16() emulate it, which
// is slower than float32.
void gemm_bfloat16(const Tensor& a, const Tensor& b, const Tensor& c, const GemmProblem& problem);
bool can_multiply_bfloat16();
bool has_fast_bfloat16();

}  // namespace mudelta::onednn
