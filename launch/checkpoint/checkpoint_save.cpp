#include "launch/checkpoint/checkpoint_save.h"

#include <glog/logging.h>

#include <string>
#include <system_error>
#include <vector>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "launch/checkpoint/checkpoint_shard.h"
#include "launch/checkpoint/manifest.h"
#include "launch/job/agreement.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

// Clears the way for a new checkpoint and makes its temporary folder.
void prepare(const fs::path& run_dir, std::int64_t step) {
  for (const CheckpointFolder& checkpoint : list_checkpoints(run_dir)) {
    require(checkpoint.step < step, "cannot save the checkpoint of step {}: the run already holds {}", step,
            checkpoint.path.string());
  }
  remove_leftovers(run_dir);
  const fs::path temporary = temporary_checkpoint_path(run_dir, step);
  fs::create_directories(temporary);
  sync_folder(run_dir);
}

CheckpointManifest make_manifest(const CheckpointContext& context, const TrainingState& state,
                                 const Optimizer& optimizer, std::span<const std::string> files) {
  CheckpointManifest manifest;
  manifest.set_format_version(kCheckpointFormatVersion);
  *manifest.mutable_state() = state;
  manifest.set_ranks(static_cast<int>(files.size()));
  manifest.set_optimizer_updates(optimizer.num_updates());
  describe_model(context, manifest);
  for (const std::string& file : files) CHECK(manifest.add_files()->ParseFromString(file));
  return manifest;
}

void commit(const fs::path& run_dir, const CheckpointManifest& manifest, const StoredTokenizer* tokenizer) {
  const std::int64_t step = manifest.state().step();
  const fs::path temporary = temporary_checkpoint_path(run_dir, step);
  const fs::path path = checkpoint_path(run_dir, step);
  check_manifest(manifest, temporary);
  if (tokenizer != nullptr) tokenizer->save(temporary);
  write_manifest(temporary, manifest);
  fs::rename(temporary, path);
  sync_folder(path.parent_path());
}

}  // namespace

void save_checkpoint(const fs::path& run_dir, const CheckpointContext& context, const TrainingState& state,
                     Optimizer& optimizer, const ProcessGroup& group) {
  const bool is_first = group.rank() == 0;
  const fs::path temporary = temporary_checkpoint_path(run_dir, state.step());
  try {
    run_or_fail_together(group, [&] {
      if (is_first) prepare(run_dir, state.step());
    });
    CheckpointFile shard;
    run_or_fail_together(group, [&] {
      shard = write_checkpoint_shard(temporary, context.store, optimizer.segments(), group.rank(), group.size());
    });
    const std::vector<std::string> shards = group.all_gather(shard.SerializeAsString());
    run_or_fail_together(group, [&] {
      if (is_first) commit(run_dir, make_manifest(context, state, optimizer, shards), context.tokenizer);
    });
  } catch (const Error&) {
    std::error_code error;
    if (is_first) fs::remove_all(temporary, error);
    LOG_IF(WARNING, error) << "cannot remove " << temporary.string() << ": " << error.message();
    throw;
  }
  // Older ones may be the only ones to go on from if steps fail now.
  if (is_first && state.skipped_in_a_row() == 0) prune_checkpoints(run_dir, keep_rules(context.config.checkpoint()));
}

}  // namespace mudelta
