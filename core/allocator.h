#pragma once

#include <cstdint>
#include <memory>

#include "core/device.h"

namespace mudelta {

// Bytes handed out by `allocate` on one device. `reserved` also counts freed blocks kept for reuse.
struct MemoryStats {
  std::int64_t allocated = 0;
  std::int64_t peak_allocated = 0;
  std::int64_t reserved = 0;
};

MemoryStats memory_stats(Device device);
void reset_peak_memory(Device device);

// Uninitialised memory, aligned to 64 bytes; freed blocks are cached and reused by size class, so that a training
// step with fixed shapes touches the operating system only once. Thread-safe. GPU memory may be given back while work
// that uses it is still queued on the compute stream: whoever gets it next queues behind that work.
// Where MUDELTA_EXACT_BLOCKS is set in the environment, blocks of GPU memory have the very size that was asked for and go
// back to the driver when they are freed, so that compute-sanitizer sees whoever leaves one; far slower.
// Throws Error if there is no memory left, cached blocks included.
std::shared_ptr<std::byte[]> allocate(std::int64_t num_bytes, Device device);

// GPU memory for work that is recorded and repeated (core/graph.h). What a thread allocates on the GPU during a Scope
// is taken from the pool, and goes back to it whenever it is freed: as long as the pool exists nobody else gets that
// memory, in use or not, so that a repetition may write to it. It counts as allocated.
class MemoryPool {
 public:
  MemoryPool();

  class Scope {
   public:
    explicit Scope(const MemoryPool& pool);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
  };

 private:
  friend std::shared_ptr<std::byte[]> allocate(std::int64_t num_bytes, Device device);
  class Blocks;
  std::shared_ptr<Blocks> blocks_;  // shared with those in use
};

}  // namespace mudelta
