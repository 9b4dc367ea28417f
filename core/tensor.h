#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "core/allocator.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace mudelta {

// A contiguous row-major array: shared storage, shape, dtype, device. Copying a Tensor copies the handle, not the
// data; views share storage and keep it alive. A default-constructed Tensor is undefined: "not given".
// What a Tensor does itself (fill, copy, clone) on a GPU is queued on the device's compute stream.
class Tensor {
 public:
  Tensor() = default;

  // Uninitialised.
  static Tensor empty(const Shape& shape, DType dtype = DType::kFloat32, Device device = {});
  static Tensor zeros(const Shape& shape, DType dtype = DType::kFloat32, Device device = {});
  // A float32 or int32 host tensor with a copy of `values`.
  static Tensor from(std::span<const float> values, const Shape& shape);
  static Tensor from(std::span<const std::int32_t> values, const Shape& shape);

  bool defined() const { return storage_ != nullptr; }
  explicit operator bool() const { return defined(); }

  const Shape& shape() const { return shape_; }
  std::int64_t size(int dim) const { return shape_[dim]; }
  std::int64_t numel() const { return shape_.numel(); }
  std::int64_t num_bytes() const { return numel() * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  // Throws Error if T is not the tensor's dtype. Constness is that of the handle, as with std::span. The address is one
  // of the tensor's device.
  template <class T>
  T* data() const {
    check_dtype(dtype_of<T>::value);
    return reinterpret_cast<T*>(raw());
  }
  // Elements in host memory; throws Error if the tensor is on a GPU.
  template <class T>
  std::span<T> span() const {
    check_on_host();
    return {data<T>(), static_cast<std::size_t>(numel())};
  }
  std::byte* raw() const { return storage_.get() + offset_bytes_; }

  // The same elements under another shape with as many elements.
  Tensor view(const Shape& shape) const;
  // Rows [begin, end) of the outermost dimension.
  Tensor slice(std::int64_t begin, std::int64_t end) const;
  // Elements [begin, begin + shape.numel()) of the flattened tensor, as `shape`.
  Tensor flat_view(std::int64_t begin, const Shape& shape) const;

  void fill_zero() const;
  // Same shape and dtype required; regions must not overlap. Between host and GPU, too: a copy to the host has arrived
  // and one from pageable memory has left it when this returns; one from pinned memory to a GPU is only queued, and that
  // memory must stay as it is until then.
  void copy_from(const Tensor& source) const;
  // As copy_from, for a source on a GPU and this in pinned memory: only queued. The host may read it once it has waited
  // for the compute stream.
  void queue_copy_from(const Tensor& source) const;
  Tensor clone() const;
  // A copy of a host tensor in another dtype (float32 <-> bfloat16), or this very tensor if it has that dtype already.
  Tensor to(DType dtype) const;
  // A copy on another device, or this very tensor if it is there already.
  Tensor to(Device device) const;

  std::string to_string() const;  // "float32[2, 3]", "float32[2, 3] on cuda:0", "undefined"

 private:
  void check_dtype(DType dtype) const;
  void check_can_copy(const Tensor& source) const;
  void check_on_host() const;

  std::shared_ptr<std::byte[]> storage_;
  std::int64_t offset_bytes_ = 0;
  Shape shape_;
  DType dtype_ = DType::kFloat32;
  Device device_;
};

}  // namespace mudelta
