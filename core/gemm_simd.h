#pragma once

#include "core/gemm_problem.h"

// gemm() on the CPU's vector units, in float32.
namespace mudelta::simd {

// c [m, n] float32 (=, or += if the problem accumulates) of operands that are both float32 or both bfloat16.
// An element's bits depend on its row of op(a), its column of op(b), and the CPU alone: k is summed in order, in blocks
// of a fixed length, whatever the other sizes (but for op(a) of very few rows) and the number of threads.
void gemm(const Tensor& a, const Tensor& b, const Tensor& c, const GemmProblem& problem);

// Of the float32 tensor that it allocates for c of n columns and k products an element, both at least 1.
Shape packed_shape(std::int64_t n, std::int64_t k);

}  // namespace mudelta::simd
