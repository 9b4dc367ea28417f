// The definition of core/gpu.h for the emulator: one device. Streams and events are in stream.cpp, products in
// gemm.cpp.

#include "core/gpu.h"

#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "simt/device_memory.h"
#include "simt/shared_memory.h"
#include "simt/stream.h"

namespace mudelta::gpu {
namespace {

void require_memory(const void* memory, std::int64_t num_bytes) {
  require(!simt::is_device_memory(memory) || num_bytes == 0 || simt::is_allocated(memory, num_bytes),
          "{} bytes from {}, outside of it", num_bytes, simt::describe_device_address(memory));
}

}  // namespace

std::vector<DeviceInfo> devices() {
  return {{.name = "emulated",
           .architecture = "sm_90",
           .memory_bytes = simt::device_memory().num_bytes,
           .multiprocessors = 4,
           .block_shared_bytes = simt::kMaxSharedBytes}};
}

std::string description() { return "emulated on the host"; }

void use_device(int index) { require(index == 0, "there is no GPU {}: the only emulated one is 0", index); }
int current_device() { return 0; }

void* allocate(std::int64_t num_bytes) {
  simt::require_no_capture("allocate");
  return simt::allocate_device_memory(num_bytes);
}
void free(void* memory) {
  simt::require_no_capture("free");
  simt::free_device_memory(memory);
}

void* allocate_pinned(std::int64_t num_bytes) {
  simt::require_no_capture("allocate_pinned");
  return std::malloc(static_cast<std::size_t>(num_bytes));
}
void free_pinned(void* memory) {
  simt::require_no_capture("free_pinned");
  std::free(memory);
}

void copy(void* to, const void* from, std::int64_t num_bytes, StreamHandle stream) {
  require(!simt::is_captured(stream) || (simt::is_device_memory(to) && simt::is_device_memory(from)),
          "{} bytes were to be copied from or to the host during a capture, which does not allow it", num_bytes);
  simt::enqueue(stream, [=] {
    require_memory(to, num_bytes);
    require_memory(from, num_bytes);
    const simt::DeviceMemoryAccess access;
    std::memmove(to, from, static_cast<std::size_t>(num_bytes));
  });
}

void fill_zero(void* memory, std::int64_t num_bytes, StreamHandle stream) {
  simt::enqueue(stream, [=] {
    require_memory(memory, num_bytes);
    const simt::DeviceMemoryAccess access;
    std::memset(memory, 0, static_cast<std::size_t>(num_bytes));
  });
}

void push_range(const char*) {}
void pop_range() {}

}  // namespace mudelta::gpu
