#pragma once

#include "core/gemm_problem.h"

// oneDNN's part in gemm() on the CPU: products of bfloat16 matrices on CPUs that have instructions for them.
namespace mudelta::onednn {

// Of bfloat16 operands as they are; needs can_multiply_bfloat16(). CPUs without has_fast_bfloat16() emulate it, which
// is slower than float32.
void gemm_bfloat16(const Tensor& a, const Tensor& b, const Tensor& c, const GemmProblem& problem);
bool can_multiply_bfloat16();
bool has_fast_bfloat16();

}  // namespace mudelta::onednn
