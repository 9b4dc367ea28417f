#include "launch/train/training_job.h"

#include <memory>
#include <optional>
#include <utility>

#include "data/config_validation.h"
#include "data/dataset_info.h"
#include "dist/mpi.h"
#include "dist/watchdog.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/config/run_config.h"
#include "launch/config/run_config_validation.h"
#include "launch/job/agreement.h"
#include "launch/job/folder_lock.h"
#include "launch/job/job_devices.h"
#include "launch/job/logging.h"
#include "launch/job/stop_signals.h"
#include "launch/train/gemm_peak.h"
#include "launch/train/initial_weights.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/resume_notes.h"
#include "launch/train/run_directory.h"
#include "launch/train/trainer.h"
#include "launch/train/training_loop.h"
#include "launch/train/training_report.h"
#include "model/config.h"
#include "model/parameter_parts.h"

namespace mudelta {
namespace {

// Every rank gets the same answer, or throws the same SharedError.
Mesh make_mesh(const ProcessGroup& world, const ParallelConfig& config) {
  try {
    return Mesh(world, config);
  } catch (const Error& error) {
    throw SharedError(error.what());
  }
}

// The checkpoint that rank 0 finds, of step `from` or else the newest, and every rank sees; nothing if there is none.
std::optional<std::filesystem::path> agree_on_checkpoint(const ProcessGroup& world,
                                                         const std::filesystem::path& run_dir,
                                                         std::optional<std::int64_t> from) {
  std::string found;
  run_or_fail_together(world, [&] {
    if (world.rank() != 0) return;
    remove_leftovers(run_dir);
    if (from) {
      found = checkpoint_of_step(run_dir, *from).string();
    } else if (const auto checkpoint = newest_checkpoint(run_dir)) {
      found = checkpoint->string();
    }
  });
  found = world.all_gather(found).front();
  if (found.empty()) return std::nullopt;
  require_shared_folder(world, RunDirectory(run_dir).checkpoints());
  return found;
}

// Rank 0's claim on the folder of the run, if there is one already; checks that the run can go there.
std::unique_ptr<FolderLock> claim(const RunDirectory& run, bool resume) {
  run.check(resume);
  if (!std::filesystem::exists(run.root())) return nullptr;
  return std::make_unique<FolderLock>(run.root());
}

// The same for a folder that there was not.
std::unique_ptr<FolderLock> make_and_claim(const RunDirectory& run) {
  run.make();
  auto lock = std::make_unique<FolderLock>(run.root());
  run.check(/*resume=*/false);
  return lock;
}

// Notes for the user.
std::vector<std::string> resume(Trainer& trainer, const std::filesystem::path& checkpoint) {
  const RunConfig before = trainer.load(checkpoint);
  const std::int64_t steps = trainer.config().train().steps();
  if (steps >= trainer.steps_done()) return resume_notes(before, trainer.config(), trainer.steps_done());
  throw SharedError(fmt::format("train.steps is {}, but the run has done {} ({}): expected more, to go on", steps,
                                trainer.steps_done(), checkpoint.string()));
}

}  // namespace

RunConfig complete_run_config(RunConfig config, int world_size) {
  validate(config, world_size);
  const std::vector<DataSource> sources = sources_of(config.data());
  for (const DataSource& source : sources) {
    const DatasetInfo data = read_dataset_info(source.path());
    const std::string tokenizer = to_string(data.tokenizer);
    if (!config.data().has_tokenizer()) config.mutable_data()->set_tokenizer(tokenizer);
    require(config.data().tokenizer() == tokenizer, "data.tokenizer is {}: the data set in {} was made with {}",
            config.data().tokenizer(), source.path(), tokenizer);
    if (!config.model().has_vocab_size()) config.mutable_model()->set_vocab_size(data.vocab_size);
    require(config.model().vocab_size() >= data.vocab_size,
            "model.vocab_size is {}: the data set in {} has token ids up to {}", config.model().vocab_size(),
            source.path(), data.vocab_size - 1);
  }
  if (!config.data().sources().empty()) {
    config.mutable_data()->mutable_sources()->Assign(sources.begin(), sources.end());
  }
  *config.mutable_model() = resolve(config.model());
  require_parts(config.model(), config.parallel().tensor());
  return with_defaults(config);
}

int run_training(const TrainingRequest& request) {
  catch_stop_signals();
  const ProcessGroup hosts = ProcessGroup::world();
  RunConfig config;
  std::unique_ptr<const WeightSource> initial_weights;
  std::unique_ptr<FolderLock> lock;
  run_or_fail_together(hosts, [&] {
    config = load_run_config(request.config, request.overrides);
    if (request.initial_weights) {
      initial_weights = request.initial_weights();
      config = with_model_of(config, *initial_weights);
    }
    config = complete_run_config(config, hosts.size());
    if (hosts.rank() == 0) lock = claim(RunDirectory(request.out), request.resume);
  });
  limit_mpi_calls(config.parallel().timeout_seconds());
  require_alike(hosts, "configuration", resolved_text(config));
  std::string data_sets;
  for (const DataSource& source : sources_of(config.data())) data_sets += to_json(read_dataset_info(source.path()));
  require_alike(hosts, "data set", data_sets);
  const auto [device, world] = choose_devices(hosts, config.train().device(), config.parallel().gpu_transport());
  const RunDirectory run(request.out);
  const Mesh mesh = make_mesh(world, config.parallel());
  std::unique_ptr<Trainer> trainer;
  run_or_fail_together(world, [&, device = device] {
    require_training_memory(config, mesh.data().size(), rank_info().local_size, device);
    require_snapshot_memory(config, mesh.data().size(), rank_info().local_size, device);
    trainer = std::make_unique<Trainer>(config, mesh, device);
    trainer->allow(request.allowed);
  });
  std::vector<std::string> notes;
  std::optional<std::filesystem::path> checkpoint;
  if (request.resume) checkpoint = agree_on_checkpoint(world, run.root(), request.from);
  if (checkpoint) {
    notes = resume(*trainer, *checkpoint);
  } else if (initial_weights) {
    trainer->start_from(*initial_weights);
    notes = {fmt::format("starts from the weights in {}", initial_weights->folder().string())};
  }
  initial_weights.reset();

  MfuPeak peak(compute_dtype(config.train()), device, world);
  std::unique_ptr<TrainingReport> report;
  run_or_fail_together(world, [&] {
    if (world.rank() != 0) return;
    if (!lock) lock = make_and_claim(run);
    if (request.from) {
      for (const std::filesystem::path& place : set_later_checkpoints_aside(run.root(), trainer->steps_done())) {
        notes.push_back(fmt::format("a later checkpoint is set aside as {}", place.string()));
      }
    }
    run.create(resolved_text(config), trainer->steps_done());
  });
  require_shared_folder(world, run.checkpoints());
  run_or_fail_together(world, [&] {
    log_to_folder(run.log(), world.rank());
    report = std::make_unique<TrainingReport>(*trainer, mesh, run, std::move(peak), notes);
  });
  return run_training_loop(*trainer, world, lock.get(), *report);
}

}  // namespace mudelta
