#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "core/device.h"
#include "dist/mesh.h"
#include "launch/config/config.pb.h"

namespace mudelta {

struct TrainingSpeed {
  std::int64_t parameters = 0;
  double flops_per_token = 0;  // model/flops.h, of training
  double step_seconds = 0;     // median
  double tokens_per_second = 0;
  // On several ranks, means over the steps, of rank 0.
  double collective_seconds = 0;                   // of all collectives
  double exposed_seconds = 0;                      // in which it did nothing else
  double other_seconds = 0;                        // the rest of a step
  std::map<std::string, std::int64_t> bytes_sent;  // in a step, of tensors, by group
};

// Whole training steps (forward, backward, AdamW) of config.model() on random tokens, for about `seconds`:
// train.global_batch sequences of train.sequence_length over the data ranks of `mesh`, train.micro_batch at a time
// (with train.cuda_graph, by a graph). Collective over the mesh, whose groups are fit for `device`.
TrainingSpeed measure_training(const RunConfig& config, const Mesh& mesh, Device device, double seconds);

}  // namespace mudelta
