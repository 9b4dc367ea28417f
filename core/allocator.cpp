#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "core/error.h"

namespace mudelta {
namespace {

constexpr std::int64_t kAlignment = 64;

#ifdef __SANITIZE_ADDRESS__
constexpr bool kReuseBlocks = false;  // a reused, rounded-up block would hide overflows and use after free
#else
constexpr bool kReuseBlocks = true;
#endif

// Small blocks round up to a power of two, large ones to an eighth of one: at most 12.5 % is wasted there.
std::int64_t size_class(std::int64_t num_bytes) {
  if (!kReuseBlocks) return std::max((num_bytes + kAlignment - 1) / kAlignment * kAlignment, kAlignment);
  const auto wanted = static_cast<std::uint64_t>(std::max(num_bytes, kAlignment));
  const std::uint64_t power = std::bit_ceil(wanted);
  if (power <= 4096) return static_cast<std::int64_t>(power);
  const std::uint64_t step = power / 16;
  return static_cast<std::int64_t>((wanted + step - 1) / step * step);
}

class CachingAllocator {
 public:
  std::byte* take(std::int64_t block_bytes) {
    const std::lock_guard lock(mutex_);
    std::byte* block = nullptr;
    if (auto& cached = free_[block_bytes]; !cached.empty()) {
      block = cached.back();
      cached.pop_back();
    } else {
      block = static_cast<std::byte*>(std::aligned_alloc(kAlignment, static_cast<std::size_t>(block_bytes)));
      require(block != nullptr, "out of memory: {} bytes asked for, {} bytes in use", block_bytes, stats_.allocated);
      stats_.reserved += block_bytes;
    }
    stats_.allocated += block_bytes;
    stats_.peak_allocated = std::max(stats_.peak_allocated, stats_.allocated);
    return block;
  }

  void give_back(std::byte* block, std::int64_t block_bytes) {
    const std::lock_guard lock(mutex_);
    stats_.allocated -= block_bytes;
    if (kReuseBlocks) {
      free_[block_bytes].push_back(block);
    } else {
      std::free(block);
      stats_.reserved -= block_bytes;
    }
  }

  MemoryStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak_allocated = stats_.allocated;
  }

 private:
  std::mutex mutex_;
  std::map<std::int64_t, std::vector<std::byte*>> free_;
  MemoryStats stats_;
};

// Never destroyed: tensors with static lifetime may be freed after it would have been.
CachingAllocator& host_allocator() {
  static auto* allocator = new CachingAllocator;
  return *allocator;
}

}  // namespace

MemoryStats memory_stats(Device) { return host_allocator().stats(); }

void reset_peak_memory(Device) { host_allocator().reset_peak(); }

std::shared_ptr<std::byte[]> allocate(std::int64_t num_bytes, Device) {
  const std::int64_t block_bytes = size_class(num_bytes);
  std::byte* block = host_allocator().take(block_bytes);
  return {block, [block_bytes](std::byte* freed) { host_allocator().give_back(freed, block_bytes); }};
}

}  // namespace mudelta
