#pragma once

#include <filesystem>
#include <span>

#include "core/parameter_store.h"
#include "launch/checkpoint/manifest.pb.h"
#include "optim/optimizer.h"

namespace mudelta {

// Writes FOLDER/shard-RANK-of-RANKS.safetensors: the state of what a rank's optimizer owns, of those parameters of
// which it holds the first copy (ParameterPart), so that the shards of all ranks have each element of the model once.
// Returns what a manifest says of the file. Throws Error, naming it, if it cannot be written.
CheckpointFile write_checkpoint_shard(const std::filesystem::path& folder, const ParameterStore& store,
                                      std::span<const OptimizerSegment> segments, int rank, int num_ranks);

}  // namespace mudelta
