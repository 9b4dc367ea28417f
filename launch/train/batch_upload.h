#pragma once

#include <array>

#include "data/loader.h"

namespace mudelta {

// Brings batches to the device that computes, without holding up the host: through pinned memory, two batches deep.
class BatchUpload {
 public:
  // Token ids must lie in [0, vocab_size): device code does not check them, nor must one rank of several find it
  // out alone in a pass.
  BatchUpload(Device device, std::int64_t vocab_size);
  ~BatchUpload();
  BatchUpload(const BatchUpload&) = delete;
  BatchUpload& operator=(const BatchUpload&) = delete;

  // The same batch on the device; the very batch if that is the CPU. Throws Error, naming it, on a token id out of
  // range.
  Batch operator()(const Batch& host);

 private:
  struct Slot {
    Tensor tokens, targets, cu_seqlens, edges;  // pinned; what the device last copied from here
    gpu::EventHandle copied = nullptr;          // reached once it has
  };

  Device device_;
  std::int64_t vocab_size_;
  std::array<Slot, 2> slots_;
  std::size_t next_ = 0;
};

}  // namespace mudelta
