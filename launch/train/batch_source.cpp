#include "launch/train/batch_source.h"

#include <algorithm>
#include <bit>

#include "core/error.h"

namespace mudelta {
namespace {

Batch with_empty_sequences(Batch batch) {
  const auto ends = batch.cu_seqlens.span<std::int32_t>();
  const auto sequences = static_cast<std::int64_t>(std::bit_ceil(ends.size() - 1));
  const Tensor padded = Tensor::empty({sequences + 1}, DType::kInt32);
  const auto after = std::ranges::copy(ends, padded.data<std::int32_t>()).out;
  std::fill(after, padded.data<std::int32_t>() + padded.numel(), ends.back());
  batch.cu_seqlens = padded;
  return batch;
}

}  // namespace

BatchSource::BatchSource(ReadRows read, Device device, std::int64_t vocab_size, bool few_shapes)
    : read_(std::move(read)), device_(device), few_shapes_(few_shapes), upload_(device, vocab_size) {}

Batch BatchSource::rows(std::int64_t first, std::int64_t count) {
  if (!ahead_ || ahead_->first != first) return load(first, count);
  const Batch ready = ahead_->second;
  ahead_.reset();
  return ready;
}

void BatchSource::fetch_ahead(std::int64_t first, std::int64_t count) {
  if (!device_.is_cuda()) return;
  try {
    ahead_ = {first, load(first, count)};
  } catch (const Error&) {  // rows() meets it again, where all ranks can hear of it
    ahead_.reset();
  }
}

Batch BatchSource::load(std::int64_t first, std::int64_t count) {
  const Batch batch = read_(first, count);
  return upload_(few_shapes_ ? with_empty_sequences(batch) : batch);
}

}  // namespace mudelta
