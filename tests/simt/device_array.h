#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/device.h"
#include "core/gpu.h"

namespace mudelta::testing {

// Values in device memory, for tests of bare kernels.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t size) : size_(size), data_(static_cast<T*>(gpu::allocate(num_bytes()))) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    gpu::copy(data_, values.data(), num_bytes(), gpu::compute_stream());
  }
  ~DeviceArray() { gpu::free(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  std::vector<T> values() const {
    std::vector<T> copied(size_);
    gpu::copy(copied.data(), data_, num_bytes(), gpu::compute_stream());
    return copied;
  }

 private:
  std::int64_t num_bytes() const { return static_cast<std::int64_t>(size_ * sizeof(T)); }

  std::size_t size_;
  T* data_;
};

}  // namespace mudelta::testing
