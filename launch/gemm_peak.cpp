#include "launch/gemm_peak.h"

#include "core/gemm.h"
#include "core/tensor.h"
#include "launch/stopwatch.h"

namespace mudelta {

double measure_gemm_peak(DType dtype, double seconds) {
  constexpr std::int64_t kSize = 1024;
  const Tensor a = Tensor::zeros({kSize, kSize}, dtype);
  const Tensor b = Tensor::zeros({kSize, kSize}, dtype);
  const Tensor c = Tensor::zeros({kSize, kSize});
  const auto product = [&] { gemm(a, b, c, {}, Stream{}); };
  return 2.0 * kSize * kSize * kSize / measure(product, seconds).best;
}

}  // namespace mudelta
