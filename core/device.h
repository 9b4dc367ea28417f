#pragma once

#include <cstdint>
#include <string>

namespace mudelta {

enum class DeviceType : std::uint8_t { kCpu };

struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;

  std::string to_string() const { return "cpu"; }
  friend bool operator==(const Device&, const Device&) = default;
};

// An ordered queue of work on one device. Work on a CPU stream has finished when the call returns.
class Stream {
 public:
  Stream() = default;
  explicit Stream(Device device) : device_(device) {}

  Device device() const { return device_; }
  void synchronize() const {}

 private:
  Device device_;
};

}  // namespace mudelta
