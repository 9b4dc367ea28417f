#pragma once

#include <filesystem>

#include "dist/process_group.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "launch/checkpoint/manifest.pb.h"
#include "optim/optimizer.h"

// Checkpoints of a run. RUN/checkpoints/step-00001000/ holds one safetensors file per rank with the segments that the
// rank's optimizer owns (launch/checkpoint/checkpoint_shard.h), the tokenizer's file, if it has one, and
// manifest.textproto (launch/checkpoint/manifest.proto). It is written under a temporary name and renamed when
// everything is on the disk, so a crash at any instant leaves every older checkpoint as it was and the new one either
// whole or under a name that is never read. Finding, listing and resolving folders:
// launch/checkpoint/checkpoint_folder.h.

namespace mudelta {

// Writes the checkpoint of step `state.step()`, then, unless that step was skipped, removes those that
// config.checkpoint() does not keep (launch/checkpoint/retention.h). Collective over `group`, all ranks, whose segments
// together make up the model; rank 0's folder must be the same folder on every rank. Throws the same Error on every
// rank, naming the first rank that failed, its file and the reason; the temporary folder is then gone and older
// checkpoints are as they were. Throws Error, too, if the run already holds a checkpoint of this or of a later step.
void save_checkpoint(const std::filesystem::path& run_dir, const CheckpointContext& context, const TrainingState& state,
                     Optimizer& optimizer, const ProcessGroup& group);

}  // namespace mudelta
