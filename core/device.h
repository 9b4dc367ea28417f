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

// An ordered queue of work on one device: a cheap value. Work on a CPU stream has finished when the call returns. On a
// GPU this is the one compute stream of the device, which tensors' own operations use too, or that of a SideStream.
class Stream {
 public:
  Stream() = default;
  explicit Stream(Device device) : device_(device), handle_(device.is_cuda() ? gpu::compute_stream() : nullptr) {}
  Device device() const { return device_; }
  gpu::StreamHandle handle() const { return handle_; }
  // The host waits until all work so far is done.
  void synchronize() const;
  // Later work on this stream waits for the work that `other` has so far.
  void wait_for(const Stream& other) const;

 private:
  friend class SideStream;
  Device device_;
  gpu::StreamHandle handle_ = nullptr;
};

// A stream of its own beside a GPU's compute stream; work that it has when it is destroyed is still done. Memory freed
// on the host is reused in the order of the compute stream: tensors that another stream uses must live until the
// compute stream has waited for it.
class SideStream {
 public:
  explicit SideStream(Device device);
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  operator Stream() const { return stream_; }

 private:
  Stream stream_;
};

}  // namespace mudelta
