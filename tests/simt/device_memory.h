#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace mudelta::simt {

// The memory of the emulated device: one range of addresses that the host may touch only while a DeviceMemoryAccess
// exists, as during launches and copies. Outside them, host code that follows a device pointer is stopped with a
// message. Thread-safe.
struct DeviceMemory {
  std::byte* begin;
  std::int64_t num_bytes;
};
const DeviceMemory& device_memory();

class DeviceMemoryAccess {
 public:
  DeviceMemoryAccess();
  ~DeviceMemoryAccess();
  DeviceMemoryAccess(const DeviceMemoryAccess&) = delete;
  DeviceMemoryAccess& operator=(const DeviceMemoryAccess&) = delete;
};

// 256-byte aligned, NaN bits, with unallocated bytes on either side. Null if there is no room.
void* allocate_device_memory(std::int64_t num_bytes);
void free_device_memory(void* memory);

// In device memory, allocated or not.
bool is_device_memory(const void* memory);
// All bytes lie in one allocation.
bool is_allocated(const void* memory, std::int64_t num_bytes);
// "byte 12 of an allocation of 4096 bytes".
std::string describe_device_address(const void* memory);

}  // namespace mudelta::simt
