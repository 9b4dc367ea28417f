#include "launch/train/recorded_pass.h"

#include <utility>

namespace mudelta {

RecordedPass::RecordedPass(Stream stream, std::function<void(const Batch&)> pass)
    : graph_(stream), pass_(std::move(pass)) {}

void RecordedPass::operator()(const Batch& batch) {
  const std::int64_t sequences = batch.cu_seqlens.size(0) - 1;
  Batch& input = inputs_[sequences];
  if (!input.tokens) {
    input = {batch.tokens.clone(), batch.targets.clone(), batch.cu_seqlens.clone()};
  } else {
    input.tokens.copy_from(batch.tokens);
    input.targets.copy_from(batch.targets);
    input.cu_seqlens.copy_from(batch.cu_seqlens);
  }
  graph_.run([&] { pass_(input); }, sequences);
}

}  // namespace mudelta
