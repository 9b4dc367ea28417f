#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/device.h"
#include "launch/config/config.pb.h"

namespace mudelta {

// Bytes that a rank takes from the allocator (core/allocator.h), within a tenth. Rows are counted as one sequence each:
// a document that begins within a row adds half a chunk's states to what the gated delta rule keeps. With tensor ranks,
// the residual stream counts whole though sequence parallelism cuts it, so that the estimate is too high then.
// What a collective needs for itself, at most parallel.bucket_mib, is left out.
struct MemoryEstimate {
  double weights = 0;      // from ZeRO stage 3 on a rank's own part, and units whole at the fullest moment of a pass
  double gradients = 0;    // so from stage 2 on
  double optimizer = 0;    // moments, and float32 masters of other parameters; from stage 1 on a rank's own part
  double activations = 0;  // the most that a pass over a micro-batch has at a time, work space included; with
                           // train.cuda_graph, the pool that its recordings share
  double snapshot = 0;     // in host memory, beside the total: what checkpoint.asynchronous copies; training only
  double total() const { return weights + gradients + optimizer + activations; }
};
// During a training step on `data_ranks` x parallel.context x parallel.tensor ranks, and where parallel.tensor ranks
// compute losses of `tokens` tokens at a time. `config`: with its model resolved, of any size: nothing is allocated.
MemoryEstimate estimate_memory(const RunConfig& config, int data_ranks, Device device);
MemoryEstimate estimate_inference_memory(const RunConfig& config, std::int64_t tokens, Device device);

// Bytes that each of `local_ranks` ranks of this host can have on `device`; GPUs are shared out evenly.
double memory_share(int local_ranks, Device device);

// Throws Error unless each of `local_ranks` ranks of this host can have that much on `device`, naming the parts, what
// there is, and what is to be smaller: the model's sizes, or what `batch` calls the sizes that set the tokens.
void require_memory(const MemoryEstimate& estimate, const ModelConfig& model, std::string_view batch, int local_ranks,
                    Device device);
// As above for training by `config`.
void require_training_memory(const RunConfig& config, int data_ranks, int local_ranks, Device device);

// Throws Error unless the host has the memory for the copies that checkpoint.asynchronous makes, on the CPU beside the
// training itself.
void require_snapshot_memory(const RunConfig& config, int data_ranks, int local_ranks, Device device);

std::string human_bytes(double bytes);  // "3.25 GiB"

}  // namespace mudelta
