#pragma once

#include "core/gemm.h"

namespace mudelta {

// A product of matrices that fit together: op(a) [m, k], op(b) [k, n]. No dimension is 0.
struct GemmProblem {
  std::int64_t m, n, k;
  GemmOptions options;
};

}  // namespace mudelta
