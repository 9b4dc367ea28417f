#include "launch/bench/copy_bandwidth.h"

#include <omp.h>

#include <cstdint>
#include <cstring>

#include "core/tensor.h"
#include "launch/job/stopwatch.h"

namespace mudelta {
namespace {

double measure_gpu_copy_bandwidth(Device device, double seconds) {
  constexpr std::int64_t kBytes = 512 * 1024 * 1024;
  const Tensor from = Tensor::zeros({kBytes / 4}, DType::kFloat32, device);
  const Tensor to = Tensor::zeros({kBytes / 4}, DType::kFloat32, device);
  return 2.0 * kBytes / measure([&] { to.copy_from(from); }, seconds, Stream(device)).best;
}

}  // namespace

double measure_copy_bandwidth(Device device, double seconds) {
  if (device.is_cuda()) return measure_gpu_copy_bandwidth(device, seconds);
  constexpr std::int64_t kBytes = 64 * 1024 * 1024;
  const Tensor from = Tensor::zeros({kBytes / 4}), to = Tensor::zeros({kBytes / 4});
  const auto copy = [&] {
#pragma omp parallel
    {
      const std::int64_t part = kBytes / omp_get_num_threads();
      std::memcpy(to.raw() + omp_get_thread_num() * part, from.raw() + omp_get_thread_num() * part,
                  static_cast<std::size_t>(part));
    }
  };
  return 2.0 * kBytes / measure(copy, seconds).best;
}

}  // namespace mudelta
