#pragma once

#include "launch/config.pb.h"

namespace mudelta {

// Bytes that a data rank holds during a training step. Weights, gradients and optimizer state are what is allocated but
// for padding; activations are what the forward pass keeps for the backward pass, without either's work space.
struct MemoryEstimate {
  double weights = 0;
  double gradients = 0;
  double optimizer = 0;  // float32 masters and moments, cut over the ranks
  double activations = 0;
  double total() const { return weights + gradients + optimizer + activations; }
};
// `config` with its model resolved, on `data_ranks` ranks.
MemoryEstimate estimate_memory(const RunConfig& config, int data_ranks);

}  // namespace mudelta
