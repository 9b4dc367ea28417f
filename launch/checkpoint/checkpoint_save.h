#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "dist/process_group.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "launch/checkpoint/checkpoint_shard.h"
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
// checkpoints are as they were. Throws Error, too, if the run already holds a checkpoint of this or of a later step,
// and if the file system has not the room.
void save_checkpoint(const std::filesystem::path& run_dir, const CheckpointContext& context, const TrainingState& state,
                     Optimizer& optimizer, const ProcessGroup& group);

// The same in two halves, between which training goes on: begin() copies the state and lets a thread of each rank write
// it, which leaves MPI alone; finish() makes it a checkpoint. The files are those of save_checkpoint, bit for bit. All
// but is_under_way() is collective, and throws as save_checkpoint does, after which nothing is under way.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(ProcessGroup group);
  // Waits for the thread; what it wrote is no checkpoint then.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Takes the memory for the copy, ahead of the first begin().
  void reserve(const CheckpointContext& context, Optimizer& optimizer);

  // Nothing may be under way. The context's tokenizer must be there until the end.
  void begin(const std::filesystem::path& run_dir, const CheckpointContext& context, const TrainingState& state,
             Optimizer& optimizer);
  bool is_under_way() const { return save_ != nullptr; }
  // Whether all ranks have written their parts, so that finish() need not wait.
  bool is_written() const;
  // `run_dir`: where the run's folder is now.
  void finish(const std::filesystem::path& run_dir);

 private:
  struct Save;

  ProcessGroup group_;
  std::optional<ShardSnapshot> snapshot_;
  std::unique_ptr<Save> save_;
};

// Throws Error, saying what there is, unless the file system of `folder` has `num_bytes` free.
void require_free_space(const std::filesystem::path& folder, std::int64_t num_bytes);

}  // namespace mudelta
