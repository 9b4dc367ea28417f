#include "launch/train/batch_upload.h"

#include <glog/logging.h>

#include "core/error.h"

namespace mudelta {
namespace {

void check_tokens(const Tensor& tokens, std::int64_t vocab_size) {
  for (const std::int32_t token : tokens.span<std::int32_t>()) {
    require(0 <= token && token < vocab_size, "a token id is {}: the model's vocabulary has ids 0 to {}", token,
            vocab_size - 1);
  }
}

Tensor pinned_copy(const Tensor& host) { return host.to(Device{DeviceType::kPinned}); }

}  // namespace

BatchUpload::BatchUpload(Device device, std::int64_t vocab_size) : device_(device), vocab_size_(vocab_size) {
  if (!device_.is_cuda()) return;
  for (Slot& slot : slots_) slot.copied = gpu::create_event();
}

BatchUpload::~BatchUpload() {
  for (const Slot& slot : slots_) {
    if (slot.copied == nullptr) continue;
    try {
      gpu::synchronize_event(slot.copied);
    } catch (const Error& error) {  // of earlier work on the device, which copies nothing any more
      LOG(ERROR) << error.what();
    }
    gpu::destroy_event(slot.copied);
  }
}

Batch BatchUpload::operator()(const Batch& host) {
  check_tokens(host.tokens, vocab_size_);
  check_tokens(host.targets, vocab_size_);
  if (!device_.is_cuda()) return host;
  Slot& slot = slots_[next_];
  next_ = (next_ + 1) % slots_.size();
  gpu::synchronize_event(slot.copied);
  slot.tokens = pinned_copy(host.tokens);
  slot.targets = pinned_copy(host.targets);
  slot.cu_seqlens = pinned_copy(host.cu_seqlens);
  slot.edges = host.edges ? pinned_copy(host.edges) : Tensor();
  const Batch batch{slot.tokens.to(device_), slot.targets.to(device_), slot.cu_seqlens.to(device_),
                    slot.edges ? slot.edges.to(device_) : Tensor()};
  gpu::record(slot.copied, gpu::compute_stream());
  return batch;
}

}  // namespace mudelta
