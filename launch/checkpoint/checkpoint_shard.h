#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "core/parameter_store.h"
#include "launch/checkpoint/manifest.pb.h"
#include "optim/optimizer.h"

namespace mudelta {

// What one rank adds to a checkpoint.
struct CheckpointShard {
  CheckpointFile file;          // what a manifest says of it, but for checksums and size
  std::vector<Tensor> tensors;  // of the file's segments: the elements, in the shapes that they are stored in

  std::int64_t num_bytes() const;  // of the elements
};

// That of a rank: the live state of what its optimizer owns, of those parameters of which it holds the first copy
// (ParameterPart), so that the shards of all ranks have each element of the model once.
CheckpointShard live_shard(const ParameterStore& store, std::span<const OptimizerSegment> segments, int rank,
                           int num_ranks);

// Host memory for a copy of a shard's elements, of which training goes on to change the originals: pinned where they
// are on a GPU.
class ShardSnapshot {
 public:
  explicit ShardSnapshot(const CheckpointShard& shard);

  // `shard` with its elements as they are now, in this memory. Returns when they are there.
  CheckpointShard take(const CheckpointShard& shard) const;

 private:
  std::vector<Tensor> copies_;
};

// Writes FOLDER/shard-RANK-of-RANKS.safetensors. Returns what a manifest says of it. Throws Error, naming the file, if
// it cannot be written. With elements in host memory, it may run beside anything else.
CheckpointFile write_shard(const std::filesystem::path& folder, const CheckpointShard& shard);

}  // namespace mudelta
