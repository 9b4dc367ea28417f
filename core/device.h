#pragma once

#include <cstdint>
#include <string>

#include "core/gpu.h"

namespace mudelta {

enum class DeviceType : std::uint8_t {
  kCpu,
  kPinned,  // host memory that a GPU copies from and to without holding up the host
  kCuda,
};

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;

  // The GPU that this process uses (gpu::use_device).
  static Device cuda() { return {DeviceType::kCuda, gpu::current_device()}; }

  bool is_cuda() const { return type == DeviceType::kCuda; }
  std::string to_string() const;  // "cpu", "pinned", "cuda:1"
  friend bool operator==(const Device&, const Device&) = default;
};

// An ordered queue of work on one device. Work on a CPU stream has finished when the call returns. On a GPU the default
// is the one compute stream of the device, which tensors' own operations use too; `side_stream` makes another one.
class Stream {
 public:
  Stream() = default;
  explicit Stream(Device device) : device_(device), handle_(device.is_cuda() ? gpu::compute_stream() : nullptr) {}
  // A new stream, never destroyed. Memory freed on the host is reused in the order of the compute stream: tensors that
  // another stream uses must live until the compute stream has waited for it.
  static Stream side_stream(Device device);

  Device device() const { return device_; }
  gpu::StreamHandle handle() const { return handle_; }
  // The host waits until all work so far is done.
  void synchronize() const;
  // Later work on this stream waits for the work that `other` has so far.
  void wait_for(const Stream& other) const;

 private:
  Device device_;
  gpu::StreamHandle handle_ = nullptr;
};

}  // namespace mudelta
