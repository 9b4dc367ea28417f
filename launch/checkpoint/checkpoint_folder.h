#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/checkpoint/retention.h"

namespace mudelta {

// RUN/checkpoints/ holds step-%08d (checkpoints), .tmp-step-%08d (being written), .trash-step-%08d (being removed) and
// set-aside-step-%08d (left behind by a run that went on from an earlier one).
struct CheckpointFolder {
  std::int64_t step = 0;
  std::filesystem::path path;
};

std::filesystem::path checkpoint_path(const std::filesystem::path& run_dir, std::int64_t step);
std::filesystem::path temporary_checkpoint_path(const std::filesystem::path& run_dir, std::int64_t step);

// What the name of a checkpoint's folder says; nothing if it is another name.
std::optional<std::int64_t> step_of(const std::filesystem::path& checkpoint);

// Checkpoints of a run, oldest first; none if the run or its checkpoints folder does not exist.
std::vector<CheckpointFolder> list_checkpoints(const std::filesystem::path& run_dir);

// The checkpoint to resume from; nothing if the run has none. Damage is never skipped in silence: throws Error,
// with advice, if the newest folder lacks a readable manifest or a file that fits it.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& run_dir);

// That of `step`, which is as sound as newest_checkpoint demands. Throws Error, naming the steps that there are, if the
// run has none of it.
std::filesystem::path checkpoint_of_step(const std::filesystem::path& run_dir, std::int64_t step);

// `damage`, found in `checkpoint`, and how to go on: which of those before it is sound, every byte of it being read.
std::string with_advice(const std::string& damage, const std::filesystem::path& checkpoint);

// `folder` itself if it is a checkpoint (it holds a manifest), else the newest checkpoint of the run in `folder`.
// Throws Error if there is neither.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& folder);

// Removes what a crash left under a temporary name. For one rank, while nothing is being saved.
void remove_leftovers(const std::filesystem::path& run_dir);

// Those that the rules do not keep, oldest first. The newest is never among them.
std::vector<CheckpointFolder> checkpoints_to_prune(const std::filesystem::path& run_dir, const KeepRules& rules);

// Removes them. Each is renamed before it is emptied, so that half a checkpoint never bears a checkpoint's name. A
// folder that cannot be removed is reported by a warning. Returns those that were removed.
std::vector<CheckpointFolder> prune_checkpoints(const std::filesystem::path& run_dir, const KeepRules& rules);

// For a run that goes on from an earlier checkpoint: those of later steps than `step` are called
// set-aside-step-%08d (a second one of the same step gets a -2) from then on, which nothing lists or removes. Returns
// their new places. Throws Error.
std::vector<std::filesystem::path> set_later_checkpoints_aside(const std::filesystem::path& run_dir, std::int64_t step);

}  // namespace mudelta
