#include "core/tensor.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace mudelta {
namespace {

template <class From, class To>
void convert(std::span<const From> from, std::span<To> to) {
  std::ranges::transform(from, to.begin(), [](From x) { return static_cast<To>(static_cast<float>(x)); });
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  tensor.device_ = device;
  tensor.storage_ = allocate(product_of({shape.numel(), size_of(dtype)}), device);
  return tensor;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor tensor = empty(shape, dtype, device);
  tensor.fill_zero();
  return tensor;
}

Tensor Tensor::from(std::span<const float> values, const Shape& shape) {
  Tensor tensor = empty(shape, DType::kFloat32);
  require(tensor.numel() == static_cast<std::int64_t>(values.size()), "[from] {} values given for shape {}",
          values.size(), shape.to_string());
  std::ranges::copy(values, tensor.data<float>());
  return tensor;
}

Tensor Tensor::from(std::span<const std::int32_t> values, const Shape& shape) {
  Tensor tensor = empty(shape, DType::kInt32);
  require(tensor.numel() == static_cast<std::int64_t>(values.size()), "[from] {} values given for shape {}",
          values.size(), shape.to_string());
  std::ranges::copy(values, tensor.data<std::int32_t>());
  return tensor;
}

Tensor Tensor::view(const Shape& shape) const {
  require(shape.numel() == numel(), "[view] {} cannot be seen as {}", to_string(), shape.to_string());
  Tensor tensor = *this;
  tensor.shape_ = shape;
  return tensor;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  require(shape_.rank() >= 1 && 0 <= begin && begin <= end && end <= shape_[0], "[slice] rows [{}, {}) of {}", begin,
          end, to_string());
  std::array<std::int64_t, Shape::kMaxRank> sizes{};
  std::ranges::copy(shape_.sizes(), sizes.begin());
  sizes[0] = end - begin;
  const Shape sliced(std::span<const std::int64_t>(sizes.data(), static_cast<std::size_t>(shape_.rank())));
  const std::int64_t row = shape_[0] == 0 ? 0 : numel() / shape_[0];
  return flat_view(begin * row, sliced);
}

Tensor Tensor::flat_view(std::int64_t begin, const Shape& shape) const {
  require(0 <= begin && begin <= numel() && shape.numel() <= numel() - begin, "[flat_view] elements [{}, {}) of {}",
          begin, begin + shape.numel(), to_string());
  Tensor tensor = *this;
  tensor.shape_ = shape;
  tensor.offset_bytes_ += begin * size_of(dtype_);
  return tensor;
}

void Tensor::fill_zero() const {
  if (device_.is_cuda()) return gpu::fill_zero(raw(), num_bytes(), gpu::compute_stream());
  std::memset(raw(), 0, static_cast<std::size_t>(num_bytes()));
}

void Tensor::check_can_copy(const Tensor& source) const {
  require(source.shape_ == shape_ && source.dtype_ == dtype_, "[copy_from] cannot copy {} into {}", source.to_string(),
          to_string());
}

void Tensor::copy_from(const Tensor& source) const {
  check_can_copy(source);
  if (!device_.is_cuda() && !source.device_.is_cuda()) {
    std::memcpy(raw(), source.raw(), static_cast<std::size_t>(num_bytes()));
    return;
  }
  gpu::copy(raw(), source.raw(), num_bytes(), gpu::compute_stream());
  const bool from_pageable = source.device_.type == DeviceType::kCpu;
  if (!device_.is_cuda() || from_pageable) gpu::synchronize(gpu::compute_stream());
}

void Tensor::queue_copy_from(const Tensor& source) const {
  check_can_copy(source);
  require(device_.type == DeviceType::kPinned && source.device_.is_cuda(),
          "[queue_copy_from] expected pinned memory and a source on a GPU, got {} and {}", to_string(),
          source.to_string());
  gpu::copy(raw(), source.raw(), num_bytes(), gpu::compute_stream());
}

Tensor Tensor::clone() const {
  Tensor tensor = empty(shape_, dtype_, device_);
  tensor.copy_from(*this);
  return tensor;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  check_on_host();
  Tensor tensor = empty(shape_, dtype, device_);
  if (dtype_ == DType::kFloat32 && dtype == DType::kBFloat16) {
    convert<float, bfloat16>(span<float>(), tensor.span<bfloat16>());
  } else if (dtype_ == DType::kBFloat16 && dtype == DType::kFloat32) {
    convert<bfloat16, float>(span<bfloat16>(), tensor.span<float>());
  } else {
    fail("[to] no conversion from {} to {}", to_string(), name_of(dtype));
  }
  return tensor;
}

Tensor Tensor::to(Device device) const {
  if (device == device_) return *this;
  Tensor tensor = empty(shape_, dtype_, device);
  tensor.copy_from(*this);
  return tensor;
}

std::string Tensor::to_string() const {
  if (!defined()) return "undefined";
  const std::string place = device_ == Device() ? "" : " on " + device_.to_string();
  return fmt::format("{}{}{}", name_of(dtype_), shape_.to_string(), place);
}

void Tensor::check_dtype(DType dtype) const {
  if (defined() && dtype == dtype_) return;
  fail("data of {} was asked for as {}", to_string(), name_of(dtype));
}

void Tensor::check_on_host() const {
  if (device_.is_cuda()) fail("elements of {} were asked for in host memory", to_string());
}

}  // namespace mudelta
