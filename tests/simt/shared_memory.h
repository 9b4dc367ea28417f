#pragma once

#include <cstddef>
#include <cstdint>

namespace mudelta::simt {

constexpr std::int64_t kMaxSharedBytes = 227 * 1024;  // of a block, on sm_90

// The shared memory of the running block lies inside a larger region, whose other bytes no thread may touch:
// AddressSanitizer knows, and so do the hooks of race_check.h.
struct SharedRegion {
  std::byte* begin;  // of the region
  std::int64_t num_bytes;
  std::byte* memory;  // of the block: 128-byte aligned, and to no more
};
const SharedRegion& shared_region();

void resize_shared_memory(std::int64_t num_bytes);
void fill_shared_memory();  // with NaN bits

}  // namespace mudelta::simt
