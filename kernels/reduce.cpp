#include "kernels/reduce.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"
#include "kernels/row_blocks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/reduce.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Sums run in kSums interleaved float64 accumulators whatever the vector length, for the same bits on every CPU.
constexpr std::int64_t kSums = 16;
using DoubleTag = hn::CappedTag<double, kSums>;
using DoubleVec = hn::Vec<DoubleTag>;
constexpr DoubleTag kDoubleTag;
constexpr std::int64_t kDoubleLanes = hn::MaxLanes(kDoubleTag);

HWY_INLINE DoubleVec load_doubles(const float* from) {
  const hn::Rebind<float, DoubleTag> float_tag;
  return hn::PromoteTo(kDoubleTag, hn::LoadU(float_tag, from));
}

HWY_INLINE DoubleVec load_doubles(const bfloat16* from) {
  const hn::Rebind<float, DoubleTag> float_tag;
  const hn::Rebind<std::uint32_t, DoubleTag> wide_tag;
  const hn::Rebind<std::uint16_t, DoubleTag> narrow_tag;
  const auto narrow = hn::LoadU(narrow_tag, reinterpret_cast<const std::uint16_t*>(from));
  return hn::PromoteTo(kDoubleTag, hn::BitCast(float_tag, hn::ShiftLeft<16>(hn::PromoteTo(wide_tag, narrow))));
}

template <bool kSquare, class T>
double sum_range(const T* x, std::int64_t count) {
  DoubleVec sums[kSums / kDoubleLanes];
  for (auto& sum : sums) sum = hn::Zero(kDoubleTag);
  const auto add = [&](const T* from) {
    for (std::int64_t j = 0; j < kSums / kDoubleLanes; ++j) {
      const auto value = load_doubles(from + j * kDoubleLanes);
      sums[j] = hn::Add(sums[j], kSquare ? hn::Mul(value, value) : value);
    }
  };
  const std::int64_t whole = count / kSums * kSums;
  for (std::int64_t i = 0; i < whole; i += kSums) add(x + i);
  T rest[kSums] = {};
  std::copy(x + whole, x + count, rest);
  add(rest);
  double lanes[kSums];
  for (std::int64_t j = 0; j < kSums / kDoubleLanes; ++j) hn::StoreU(sums[j], kDoubleTag, lanes + j * kDoubleLanes);
  return std::accumulate(lanes, lanes + kSums, 0.0);
}

template <bool kSquare>
double sum_tensor(const Tensor& x) {
  const RowBlocks blocks(x.numel(), 1);
  std::vector<double> partials(static_cast<std::size_t>(blocks.count()));
  dispatch_float(x.dtype(), [&]<class T>() {
    blocks.for_each([&partials, values = x.data<T>()](std::int64_t block, std::int64_t begin, std::int64_t end) {
      partials[static_cast<std::size_t>(block)] = sum_range<kSquare>(values + begin, end - begin);
    });
  });
  return std::accumulate(partials.begin(), partials.end(), 0.0);
}

double sum_values(const Tensor& x) { return sum_tensor<false>(x); }
double sum_squares(const Tensor& x) { return sum_tensor<true>(x); }

}  // namespace
}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels {
namespace {

HWY_EXPORT(sum_values);
HWY_EXPORT(sum_squares);

void check_total(std::string_view op, const Tensor& x, const Tensor& total) {
  expect_floating(op, "x", x);
  expect_tensor(op, "total", total, {1}, DType::kFloat64);
  require(total.device() == x.device(), "[{}] total: expected on the device of x ({}), got {}", op, x.to_string(),
          total.to_string());
}

double on_host(const Tensor& total, Stream stream) {
  stream.synchronize();
  return total.to(Device()).span<double>()[0];
}

}  // namespace

void add_sum(const Tensor& x, const Tensor& total, Stream stream) {
  check_total("add_sum", x, total);
  if (x.device().is_cuda()) return cuda_twin<add_sum>()(x, total, stream);
  *total.data<double>() += HWY_DYNAMIC_DISPATCH(sum_values)(x);
}

void add_sum_of_squares(const Tensor& x, double weight, const Tensor& total, Stream stream) {
  check_total("add_sum_of_squares", x, total);
  if (x.device().is_cuda()) return cuda_twin<add_sum_of_squares>()(x, weight, total, stream);
  *total.data<double>() += weight * HWY_DYNAMIC_DISPATCH(sum_squares)(x);
}

double sum(const Tensor& x, Stream stream) {
  const Tensor total = Tensor::zeros({1}, DType::kFloat64, x.device());
  add_sum(x, total, stream);
  return on_host(total, stream);
}

double sum_of_squares(const Tensor& x, Stream stream) {
  const Tensor total = Tensor::zeros({1}, DType::kFloat64, x.device());
  add_sum_of_squares(x, 1, total, stream);
  return on_host(total, stream);
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
