#include "kernels/slice_copy.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"

namespace mudelta::kernels {
namespace {

void check(std::string_view op, const SliceMap& map, std::int64_t begin, const Tensor& part, const Tensor& whole) {
  expect_tensor(op, "part", part, Shape{part.numel()}, DType::kFloat32);
  expect_tensor(op, "whole", whole, whole.shape(), DType::kFloat32);
  const std::int64_t end = begin + part.numel();
  require(begin >= 0 && end <= map.numel(), "[{}] elements {} to {} of a part, expected some of its {}", op, begin, end,
          map.numel());
  require(part.numel() == 0 || map.whole_index(end - 1) < whole.numel(),
          "[{}] whole: {} elements, expected more than {}", op, whole.numel(),
          part.numel() == 0 ? 0 : map.whole_index(end - 1));
}

}  // namespace

void put_part(const SliceMap& map, std::int64_t begin, const Tensor& part, const Tensor& whole, Stream stream) {
  check("put_part", map, begin, part, whole);
  if (whole.device().is_cuda()) return cuda_twin<put_part>()(map, begin, part, whole, stream);
  const float* from = part.data<float>();
  float* to = whole.data<float>();
  map.for_each_run(begin, begin + part.numel(),
                   [&](const SliceRun& run) { std::copy_n(from + (run.local - begin), run.numel, to + run.whole); });
}

void take_part(const SliceMap& map, std::int64_t begin, const Tensor& whole, const Tensor& part, Stream stream) {
  check("take_part", map, begin, part, whole);
  if (whole.device().is_cuda()) return cuda_twin<take_part>()(map, begin, whole, part, stream);
  const float* from = whole.data<float>();
  float* to = part.data<float>();
  map.for_each_run(begin, begin + part.numel(),
                   [&](const SliceRun& run) { std::copy_n(from + run.whole, run.numel, to + (run.local - begin)); });
}

}  // namespace mudelta::kernels
