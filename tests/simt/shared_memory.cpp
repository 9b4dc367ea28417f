#include "simt/shared_memory.h"

#include <cstddef>
#include <cstring>

#include "simt/poison.h"
#include "simt/warp_operations.h"

namespace mudelta::simt {
namespace {

constexpr std::int64_t kMarginBytes = 64 * 1024 + 128;
alignas(4096) std::byte region_memory[kMaxSharedBytes + 2 * kMarginBytes];
constinit std::int64_t current_bytes = 0;

}  // namespace

const SharedRegion& shared_region() {
  static constexpr SharedRegion region{region_memory, sizeof(region_memory), region_memory + kMarginBytes};
  return region;
}

void* shared_memory() { return region_memory + kMarginBytes; }

void resize_shared_memory(std::int64_t num_bytes) {
  current_bytes = num_bytes;
  poison_for_sanitizer(region_memory, sizeof(region_memory));
  unpoison_for_sanitizer(region_memory + kMarginBytes, num_bytes);
}

void fill_shared_memory() { std::memset(shared_memory(), kPoisonByte, static_cast<std::size_t>(current_bytes)); }

}  // namespace mudelta::simt
