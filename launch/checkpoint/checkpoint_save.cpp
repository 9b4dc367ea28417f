#include "launch/checkpoint/checkpoint_save.h"

#include <glog/logging.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/manifest.h"
#include "launch/checkpoint/retention.h"
#include "launch/job/agreement.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBytesPerTensor = 1000;  // of header and manifest, at most

// Clears the way for a new checkpoint of `num_bytes` and makes its temporary folder.
void prepare(const fs::path& run_dir, std::int64_t step, std::int64_t num_bytes) {
  for (const CheckpointFolder& checkpoint : list_checkpoints(run_dir)) {
    require(checkpoint.step < step, "cannot save the checkpoint of step {}: the run already holds {}", step,
            checkpoint.path.string());
  }
  remove_leftovers(run_dir);
  const fs::path temporary = temporary_checkpoint_path(run_dir, step);
  fs::create_directories(temporary);
  require_free_space(temporary, num_bytes);
  sync_folder(run_dir);
}

// All but the files.
CheckpointManifest make_manifest(const CheckpointContext& context, const TrainingState& state,
                                 const Optimizer& optimizer, int num_ranks) {
  CheckpointManifest manifest;
  manifest.set_format_version(kCheckpointFormatVersion);
  *manifest.mutable_state() = state;
  manifest.set_ranks(num_ranks);
  manifest.set_optimizer_updates(optimizer.num_updates());
  describe_model(context, manifest);
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

void remove_temporary(const fs::path& run_dir, std::int64_t step, const ProcessGroup& group) {
  if (group.rank() != 0) return;
  const fs::path temporary = temporary_checkpoint_path(run_dir, step);
  std::error_code error;
  fs::remove_all(temporary, error);
  LOG_IF(WARNING, error) << "cannot remove " << temporary.string() << ": " << error.message();
}

CheckpointShard live_shard(const CheckpointContext& context, Optimizer& optimizer, const ProcessGroup& group) {
  return live_shard(context.store, optimizer.segments(), group.rank(), group.size());
}

// Makes the temporary folder, for what all ranks will write.
void open_save(const fs::path& run_dir, std::int64_t step, const CheckpointShard& shard, const ProcessGroup& group) {
  const auto own = static_cast<double>(shard.num_bytes() + kBytesPerTensor * std::ssize(shard.tensors));
  const auto num_bytes = static_cast<std::int64_t>(group.all_reduce(own, ReduceOp::kSum));
  run_or_fail_together(group, [&] {
    if (group.rank() == 0) prepare(run_dir, step, num_bytes);
  });
}

// `file`: this rank's, and what kept it from being written.
void close_save(const fs::path& run_dir, CheckpointManifest& manifest, const StoredTokenizer* tokenizer,
                const CheckpointFile& file, const std::string& failure, const ProcessGroup& group) {
  run_or_fail_together(group, [&] { require(failure.empty(), "{}", failure); });
  for (const std::string& text : group.all_gather(file.SerializeAsString())) {
    CHECK(manifest.add_files()->ParseFromString(text));
  }
  run_or_fail_together(group, [&] {
    if (group.rank() == 0) commit(run_dir, manifest, tokenizer);
  });
  // Older ones may be the only ones to go on from if steps fail now.
  if (group.rank() == 0 && manifest.state().skipped_in_a_row() == 0) {
    prune_checkpoints(run_dir, keep_rules(manifest.config().checkpoint()));
  }
}

// A thread that no signal is given to.
std::thread start_quietly(std::function<void()> body) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  std::thread thread(std::move(body));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace

void save_checkpoint(const fs::path& run_dir, const CheckpointContext& context, const TrainingState& state,
                     Optimizer& optimizer, const ProcessGroup& group) {
  const CheckpointShard shard = live_shard(context, optimizer, group);
  try {
    open_save(run_dir, state.step(), shard, group);
    CheckpointFile file;
    const std::string failure =
        failure_of([&] { file = write_shard(temporary_checkpoint_path(run_dir, state.step()), shard); });
    CheckpointManifest manifest = make_manifest(context, state, optimizer, group.size());
    close_save(run_dir, manifest, context.tokenizer, file, failure, group);
  } catch (const Error&) {
    remove_temporary(run_dir, state.step(), group);
    throw;
  }
}

struct CheckpointWriter::Save {
  CheckpointManifest manifest;
  const StoredTokenizer* tokenizer;
  CheckpointShard shard;
  CheckpointFile file;  // the thread's until it is done, as is the failure
  std::string failure;
  std::atomic<bool> is_done = false;
  std::thread thread;
};

CheckpointWriter::CheckpointWriter(ProcessGroup group) : group_(std::move(group)) {}

CheckpointWriter::~CheckpointWriter() {
  if (save_) save_->thread.join();
}

void CheckpointWriter::reserve(const CheckpointContext& context, Optimizer& optimizer) {
  if (!snapshot_) snapshot_.emplace(live_shard(context, optimizer, group_));
}

void CheckpointWriter::begin(const fs::path& run_dir, const CheckpointContext& context, const TrainingState& state,
                             Optimizer& optimizer) {
  CHECK(!save_);
  auto save = std::make_unique<Save>();
  const CheckpointShard live = live_shard(context, optimizer, group_);
  try {
    open_save(run_dir, state.step(), live, group_);
    run_or_fail_together(group_, [&] {
      reserve(context, optimizer);
      save->shard = snapshot_->take(live);
      save->manifest = make_manifest(context, state, optimizer, group_.size());
      save->tokenizer = context.tokenizer;
    });
  } catch (const Error&) {
    remove_temporary(run_dir, state.step(), group_);
    throw;
  }
  save->thread = start_quietly([&save = *save, folder = temporary_checkpoint_path(run_dir, state.step())] {
    save.failure = failure_of([&] { save.file = write_shard(folder, save.shard); });
    save.is_done = true;
  });
  save_ = std::move(save);
}

bool CheckpointWriter::is_written() const { return group_.all_reduce(save_->is_done ? 0.0 : 1.0, ReduceOp::kMax) == 0; }

void CheckpointWriter::finish(const fs::path& run_dir) {
  CHECK(save_);
  constexpr std::chrono::milliseconds kLongestPause(100);
  for (std::chrono::milliseconds pause(1); !is_written(); pause = std::min(2 * pause, kLongestPause)) {
    std::this_thread::sleep_for(pause);
  }
  save_->thread.join();
  const std::unique_ptr<Save> save = std::move(save_);
  try {
    close_save(run_dir, save->manifest, save->tokenizer, save->file, save->failure, group_);
  } catch (const Error&) {
    remove_temporary(run_dir, save->manifest.state().step(), group_);
    throw;
  }
}

void require_free_space(const fs::path& folder, std::int64_t num_bytes) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error) return;  // whether there is room, writing will tell
  constexpr double kGibibyte = 1 << 30;
  require(space.available >= static_cast<std::uintmax_t>(num_bytes),
          "no room for a checkpoint in {}: {:.3f} GiB are free, expected {:.3f} GiB", folder.parent_path().string(),
          static_cast<double>(space.available) / kGibibyte, static_cast<double>(num_bytes) / kGibibyte);
}

}  // namespace mudelta
