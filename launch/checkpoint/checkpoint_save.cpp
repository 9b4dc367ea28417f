#include "launch/checkpoint/checkpoint_save.h"

#include <glog/logging.h>

#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/checksum.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "launch/checkpoint/manifest.h"
#include "launch/job/agreement.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

// A whole parameter's weight bears the parameter's name; "#exp_avg" marks other state, "[16:32]" a part.
std::string make_key(const ParameterSpec& spec, const std::string& state, const OptimizerSegment& segment) {
  const std::string name = state == "weight" ? spec.name : fmt::format("{}#{}", spec.name, state);
  if (segment.numel == spec.shape.numel()) return name;
  return fmt::format("{}[{}:{}]", name, segment.begin, segment.begin + segment.numel);
}

CheckpointFile write_shard(const fs::path& folder, const ParameterStore& store,
                           std::span<const OptimizerSegment> segments, const ProcessGroup& group) {
  CheckpointFile file;
  file.set_name(fmt::format("shard-{:05}-of-{:05}.safetensors", group.rank(), group.size()));
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const OptimizerSegment& segment : segments) {
    const ParameterSpec& spec = store.parameters()[segment.parameter].spec;
    const bool is_whole = segment.numel == spec.shape.numel();
    for (const auto& [state, live] : segment.state) {
      CHECK_EQ(live.numel(), segment.numel) << spec.name << " " << state;
      const Tensor tensor = live.to(Device());
      CheckpointSegment& stored = *file.add_segments();
      stored.set_parameter(spec.name);
      stored.set_state(state);
      stored.set_begin(segment.begin);
      stored.set_numel(segment.numel);
      stored.set_key(make_key(spec, state, segment));
      stored.set_xxh64(xxh64_of(std::as_bytes(tensor.span<float>())));
      tensors.emplace_back(stored.key(), tensor.view(is_whole ? spec.shape : Shape{segment.numel}));
    }
  }
  file.set_num_bytes(write_safetensors(folder / file.name(), tensors, {{"format", "pt"}}));
  return file;
}

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

void commit(const fs::path& run_dir, const CheckpointManifest& manifest) {
  const std::int64_t step = manifest.state().step();
  const fs::path temporary = temporary_checkpoint_path(run_dir, step);
  const fs::path path = checkpoint_path(run_dir, step);
  check_manifest(manifest, temporary);
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
    run_or_fail_together(group, [&] { shard = write_shard(temporary, context.store, optimizer.segments(), group); });
    const std::vector<std::string> shards = group.all_gather(shard.SerializeAsString());
    run_or_fail_together(group, [&] {
      if (is_first) commit(run_dir, make_manifest(context, state, optimizer, shards));
    });
  } catch (const Error&) {
    std::error_code error;
    if (is_first) fs::remove_all(temporary, error);
    LOG_IF(WARNING, error) << "cannot remove " << temporary.string() << ": " << error.message();
    throw;
  }
  // Older ones may be the only ones to go on from if steps fail now.
  if (is_first && state.skipped_in_a_row() == 0) prune_checkpoints(run_dir, context.config.checkpoint().keep());
}

}  // namespace mudelta
