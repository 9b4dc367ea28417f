#pragma once

#include "model/config.pb.h"

namespace mudelta {

// Floating-point operations of the mathematics per token, a multiply-add counting two. Work that an implementation
// adds (chunkwise form, recomputation) does not count.
struct FlopsPerToken {
  double matrices = 0;    // 2 per weight that a token is multiplied with (the embedding look-up is free)
  double recurrence = 0;  // the gated delta rule, 7 head_dim value_dim per value head
  double forward() const { return matrices + recurrence; }
  double training() const { return 3 * forward(); }  // the backward pass is twice the forward pass: 6N + recurrence
};
inline FlopsPerToken operator+(const FlopsPerToken& a, const FlopsPerToken& b) {
  return {a.matrices + b.matrices, a.recurrence + b.recurrence};
}
inline FlopsPerToken operator*(double times, const FlopsPerToken& flops) {
  return {times * flops.matrices, times * flops.recurrence};
}

// Of the whole language model.
FlopsPerToken flops_per_token(const ModelConfig& resolved);

}  // namespace mudelta
