#include "launch/train/gemm_peak.h"

#include <algorithm>
#include <utility>

#include "core/gemm.h"
#include "core/rng.h"
#include "core/tensor.h"
#include "launch/job/stopwatch.h"

namespace mudelta {
namespace {

Tensor random_matrix(std::int64_t size, DType dtype, Device device) {
  constexpr std::size_t kPeriod = 65521;  // as many numbers, again and again; prime, so that rows differ
  const CounterRng rng(1, "matrix");
  const Tensor matrix = Tensor::empty({size, size});
  const auto values = matrix.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = i < kPeriod ? static_cast<float>(rng.uniform(i)) - 0.5f : values[i - kPeriod];
  }
  return matrix.to(dtype).to(device);
}

double flops_per_second(std::int64_t size, DType dtype, Device device, double seconds) {
  const DType result = device.is_cuda() ? dtype : DType::kFloat32;  // what a layer's products write
  const Tensor a = random_matrix(size, dtype, device), b = random_matrix(size, dtype, device);
  const Tensor c = Tensor::empty({size, size}, result, device);
  const Stream stream(device);
  const auto n = static_cast<double>(size);
  return 2 * n * n * n / measure([&] { gemm(a, b, c, {}, stream); }, seconds, stream).best;
}

// The smallest size, up to 8192, whose product takes long enough to fill a GPU.
std::int64_t size_for(DType dtype, Device device) {
  constexpr double kLongEnough = 1e-3;
  std::int64_t size = 256;
  while (size < 8192) {
    const auto n = static_cast<double>(size);
    if (2 * n * n * n / flops_per_second(size, dtype, device, 0) > kLongEnough) break;
    size *= 2;
  }
  return size;
}

}  // namespace

double measure_gemm_peak(DType dtype, Device device, double seconds) {
  return flops_per_second(device.is_cuda() ? size_for(dtype, device) : 1024, dtype, device, seconds);
}

MfuPeak::MfuPeak(DType compute_dtype, Device device, ProcessGroup group)
    : dtype_(device.is_cuda() ? compute_dtype : DType::kFloat32), device_(device), group_(std::move(group)) {
  sample();
}

void MfuPeak::sample() {
  constexpr double kSeconds = 0.1;
  group_.barrier();  // ranks that share a machine share its peak
  largest_ = std::max(largest_, measure_gemm_peak(dtype_, device_, kSeconds));
  of_group_ = group_.all_reduce(largest_, ReduceOp::kSum);
}

}  // namespace mudelta
