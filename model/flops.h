#pragma once

#include "model/config.pb.h"

namespace mudelta {

// Floating-point operations of the model's mathematics per token, a multiply-add counting two. Work that an
// implementation adds (chunkwise form, recomputation) does not count.
struct FlopsPerToken {
  double matrices;    // 2 per weight that a token is multiplied with (the embedding look-up is free)
  double recurrence;  // the gated delta rule, 7 head_dim value_dim per value head
  double forward() const { return matrices + recurrence; }
  double training() const { return 3 * forward(); }  // the backward pass is twice the forward pass: 6N + recurrence
};
FlopsPerToken flops_per_token(const ModelConfig& resolved);

}  // namespace mudelta
