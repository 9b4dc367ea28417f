#include "core/allocator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "core/block_size.h"
#include "core/error.h"

namespace mudelta {
namespace {

constexpr std::int64_t kAlignment = 64;

#ifdef __SANITIZE_ADDRESS__
constexpr bool kReuseBlocks = false;  // a reused, rounded-up block would hide overflows and use after free
#else
constexpr bool kReuseBlocks = true;
#endif

// The same for GPU memory, whose checkers are others.
bool reuses_gpu_blocks() {
  static const bool reuses = kReuseBlocks && std::getenv("MUDELTA_EXACT_BLOCKS") == nullptr;
  return reuses;
}

// Where blocks come from. `allocate` returns null if there is no room.
struct MemorySource {
  void* (*allocate)(std::int64_t num_bytes);
  void (*release)(void* block);
};

MemorySource source_of(DeviceType type) {
  switch (type) {
    case DeviceType::kCpu:
      return {
          [](std::int64_t num_bytes) { return std::aligned_alloc(kAlignment, static_cast<std::size_t>(num_bytes)); },
          std::free};
    case DeviceType::kPinned: return {gpu::allocate_pinned, gpu::free_pinned};
    case DeviceType::kCuda: return {gpu::allocate, gpu::free};
  }
  fail("no memory on this kind of device");
}

class CachingAllocator {
 public:
  explicit CachingAllocator(DeviceType type) : type_(type), source_(source_of(type)) {}

  std::byte* take(std::int64_t block_bytes) {
    const std::lock_guard lock(mutex_);
    std::byte* block = nullptr;
    if (auto& cached = free_[block_bytes]; !cached.empty()) {
      block = cached.back();
      cached.pop_back();
    } else {
      block = static_cast<std::byte*>(source_.allocate(block_bytes));
      if (block == nullptr) {
        release_cached();
        block = static_cast<std::byte*>(source_.allocate(block_bytes));
      }
      require(block != nullptr, "out of {}memory: {} bytes asked for, {} bytes in use",
              type_ == DeviceType::kCuda ? "GPU " : "", block_bytes, stats_.allocated);
      stats_.reserved += block_bytes;
    }
    stats_.allocated += block_bytes;
    stats_.peak_allocated = std::max(stats_.peak_allocated, stats_.allocated);
    return block;
  }

  void give_back(std::byte* block, std::int64_t block_bytes) {
    const std::lock_guard lock(mutex_);
    stats_.allocated -= block_bytes;
    if (type_ == DeviceType::kCuda ? reuses_gpu_blocks() : kReuseBlocks) {
      free_[block_bytes].push_back(block);
    } else {
      source_.release(block);
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
  void release_cached() {
    for (auto& [block_bytes, blocks] : free_) {
      for (std::byte* block : blocks) source_.release(block);
      stats_.reserved -= block_bytes * static_cast<std::int64_t>(blocks.size());
      blocks.clear();
    }
  }

  const DeviceType type_;
  const MemorySource source_;
  std::mutex mutex_;
  std::map<std::int64_t, std::vector<std::byte*>> free_;
  MemoryStats stats_;
};

// Never destroyed: tensors with static lifetime may be freed after they would have been. A process uses one GPU, so
// that there is one allocator a kind of device.
CachingAllocator& allocator_of(Device device) {
  static auto* host = new CachingAllocator(DeviceType::kCpu);
  static auto* pinned = new CachingAllocator(DeviceType::kPinned);
  static auto* cuda = new CachingAllocator(DeviceType::kCuda);
  switch (device.type) {
    case DeviceType::kPinned: return *pinned;
    case DeviceType::kCuda: return *cuda;
    default: return *host;
  }
}

}  // namespace

std::int64_t block_size(std::int64_t num_bytes) {
  if (!kReuseBlocks) return std::max((num_bytes + kAlignment - 1) / kAlignment * kAlignment, kAlignment);
  const auto wanted = static_cast<std::uint64_t>(std::max(num_bytes, kAlignment));
  const std::uint64_t power = std::bit_ceil(wanted);
  if (power <= 4096) return static_cast<std::int64_t>(power);
  const std::uint64_t step = power / 16;
  return static_cast<std::int64_t>((wanted + step - 1) / step * step);
}

class MemoryPool::Blocks {
 public:
  Blocks() = default;
  ~Blocks() {
    for (const auto& [block_bytes, blocks] : free_) {
      for (std::byte* block : blocks) allocator_.give_back(block, block_bytes);
    }
  }
  Blocks(const Blocks&) = delete;
  Blocks& operator=(const Blocks&) = delete;

  // Of the pool whose Scope the thread is in; null outside.
  static std::shared_ptr<Blocks>& current() {
    thread_local std::shared_ptr<Blocks> blocks;
    return blocks;
  }

  std::byte* take(std::int64_t block_bytes) {
    const std::lock_guard lock(mutex_);
    auto& free = free_[block_bytes];
    if (free.empty()) return allocator_.take(block_bytes);
    std::byte* block = free.back();
    free.pop_back();
    return block;
  }

  void give_back(std::byte* block, std::int64_t block_bytes) {
    const std::lock_guard lock(mutex_);
    free_[block_bytes].push_back(block);
  }

 private:
  CachingAllocator& allocator_ = allocator_of(Device::cuda());
  std::mutex mutex_;
  std::map<std::int64_t, std::vector<std::byte*>> free_;
};

MemoryPool::MemoryPool() : blocks_(std::make_shared<Blocks>()) {}

MemoryPool::Scope::Scope(const MemoryPool& pool) {
  require(Blocks::current() == nullptr, "a memory pool is in use already");
  Blocks::current() = pool.blocks_;
}

MemoryPool::Scope::~Scope() { Blocks::current() = nullptr; }

MemoryStats memory_stats(Device device) { return allocator_of(device).stats(); }

void reset_peak_memory(Device device) { allocator_of(device).reset_peak(); }

std::shared_ptr<std::byte[]> allocate(std::int64_t num_bytes, Device device) {
  const bool is_exact = device.is_cuda() && !reuses_gpu_blocks();
  const std::int64_t block_bytes = is_exact ? std::max<std::int64_t>(num_bytes, 1) : block_size(num_bytes);
  if (const auto pool = MemoryPool::Blocks::current(); pool && device.is_cuda()) {
    return {pool->take(block_bytes), [pool, block_bytes](std::byte* freed) { pool->give_back(freed, block_bytes); }};
  }
  CachingAllocator& allocator = allocator_of(device);
  std::byte* block = allocator.take(block_bytes);
  return {block, [&allocator, block_bytes](std::byte* freed) { allocator.give_back(freed, block_bytes); }};
}

}  // namespace mudelta
