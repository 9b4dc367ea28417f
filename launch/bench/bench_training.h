#pragma once

#include <cstdint>

#include "core/device.h"
#include "launch/config/config.pb.h"

namespace mudelta {

struct TrainingSpeed {
  std::int64_t parameters = 0;
  double flops_per_token = 0;  // model/flops.h, of training
  double step_seconds = 0;     // median
  double tokens_per_second = 0;
};

// Whole training steps (forward, backward, AdamW) of config.model() on random tokens, in this process alone, for about
// `seconds`: train.global_batch sequences of train.sequence_length, train.micro_batch at a time (with
// train.cuda_graph, by a graph).
TrainingSpeed measure_training(const RunConfig& config, Device device, double seconds);

}  // namespace mudelta
