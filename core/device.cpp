#include "core/device.h"

#include <fmt/format.h>

namespace mudelta {

std::string Device::to_string() const {
  switch (type) {
    case DeviceType::kCpu: return "cpu";
    case DeviceType::kPinned: return "pinned";
    case DeviceType::kCuda: return fmt::format("cuda:{}", index);
  }
  return "unknown";
}

SideStream::SideStream(Device device) : stream_(device) {
  if (device.is_cuda()) stream_.handle_ = gpu::create_stream();
}

SideStream::~SideStream() {
  if (stream_.device().is_cuda()) gpu::destroy_stream(stream_.handle());
}

void Stream::synchronize() const {
  if (device_.is_cuda()) gpu::synchronize(handle_);
}

void Stream::wait_for(const Stream& other) const {
  if (device_.is_cuda() && handle_ != other.handle_) gpu::wait_for_stream(handle_, other.handle_);
}

}  // namespace mudelta
