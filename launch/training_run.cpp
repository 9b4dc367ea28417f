#include "launch/training_run.h"

#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "data/dataset_info.h"
#include "dist/watchdog.h"
#include "launch/agreement.h"
#include "launch/checkpoint_folder.h"
#include "launch/data_verification.h"
#include "launch/gemm_peak.h"
#include "launch/job_devices.h"
#include "launch/logging.h"
#include "launch/run_config.h"
#include "launch/run_directory.h"
#include "launch/stop_signals.h"
#include "launch/stopwatch.h"
#include "launch/trainer.h"
#include "launch/training_report.h"
#include "model/config.h"

namespace mudelta {
namespace {

constexpr int kStoppedBySignal = 143;  // 128 + SIGTERM
constexpr double kPeakMeasurementSeconds = 0.3;

bool stop_requested(const ProcessGroup& world) {
  return world.all_reduce(stop_signalled() ? 1.0 : 0.0, ReduceOp::kMax) > 0;
}

// Every rank gets the same answer, or throws the same SharedError.
Mesh make_mesh(const ProcessGroup& world, const ParallelConfig& config) {
  try {
    return Mesh(world, config.context(), config.tensor());
  } catch (const Error& error) {
    throw SharedError(error.what());
  }
}

// The checkpoint that rank 0 finds and every rank sees; nothing if there is none.
std::optional<std::filesystem::path> agree_on_checkpoint(const ProcessGroup& world,
                                                         const std::filesystem::path& run_dir) {
  std::string found;
  run_or_fail_together(world, [&] {
    if (world.rank() != 0) return;
    remove_leftovers(run_dir);
    if (const auto checkpoint = newest_checkpoint(run_dir)) found = checkpoint->string();
  });
  found = world.all_gather(found).front();
  if (found.empty()) return std::nullopt;
  require_shared_folder(world, RunDirectory(run_dir).checkpoints());
  return found;
}

bool due(std::int64_t every, std::int64_t step) { return every > 0 && step % every == 0; }

// The steps that are left, with evaluations and checkpoints as configured.
int train(Trainer& trainer, const ProcessGroup& world, const std::filesystem::path& run_dir, TrainingReport& report) {
  const RunConfig& config = trainer.config();
  const std::int64_t last = config.train().steps();
  catch_stop_signals();
  if (trainer.steps_done() >= last) {
    report.finished();
    return 0;
  }
  DataVerification verification(world, config.data());
  bool verified = false;
  const auto look_at_verification = [&] {
    if (!verified && (verified = verification.is_done())) report.data_verified(verification.cost());
  };
  while (trainer.steps_done() < last) {
    const Stopwatch stopwatch;
    const TrainStep step = trainer.step();
    report.step(step, stopwatch.seconds());
    look_at_verification();
    const bool stop = stop_requested(world);
    const bool finished = step.step == last;
    if (!stop && (finished || due(config.train().eval_every(), step.step))) {
      report.evaluation(step.step, trainer.evaluate());
    }
    if (stop || finished || due(config.checkpoint().every_steps(), step.step)) {
      trainer.save(run_dir);
      report.checkpoint(step.step);
    }
    if (stop && !finished) {
      report.stopped(step.step);
      return kStoppedBySignal;
    }
  }
  look_at_verification();
  if (!verified) report.awaits_verification();
  for (; !verified && !stop_requested(world); look_at_verification()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  report.finished();
  return 0;
}

}  // namespace

RunConfig complete_run_config(RunConfig config, int world_size) {
  validate(config, world_size);
  const DatasetInfo data = read_dataset_info(config.data().path());
  if (!config.data().has_tokenizer()) config.mutable_data()->set_tokenizer(data.tokenizer);
  require(config.data().tokenizer() == data.tokenizer, "data.tokenizer is {}: the data set in {} was made with {}",
          config.data().tokenizer(), config.data().path(), data.tokenizer);
  if (!config.model().has_vocab_size()) config.mutable_model()->set_vocab_size(data.vocab_size);
  require(config.model().vocab_size() >= data.vocab_size,
          "model.vocab_size is {}: the data set in {} has token ids up to {}", config.model().vocab_size(),
          config.data().path(), data.vocab_size - 1);
  *config.mutable_model() = resolve(config.model());
  return with_defaults(config);
}

int run_training(const TrainingRequest& request) {
  const ProcessGroup hosts = ProcessGroup::world();
  RunConfig config;
  run_or_fail_together(hosts, [&] {
    config = complete_run_config(load_run_config(request.config, request.overrides), hosts.size());
    if (hosts.rank() == 0) RunDirectory(request.out).check(request.resume);
  });
  limit_mpi_calls(config.parallel().timeout_seconds());
  require_alike(hosts, "configuration", resolved_text(config));
  require_alike(hosts, "data set", to_json(read_dataset_info(config.data().path())));
  const auto [device, world] = choose_devices(hosts, config.train().device(), config.parallel().gpu_transport());
  const RunDirectory run(request.out);
  const Mesh mesh = make_mesh(world, config.parallel());
  std::unique_ptr<Trainer> trainer;
  run_or_fail_together(world, [&, device = device] { trainer = std::make_unique<Trainer>(config, mesh, device); });
  if (request.resume) {
    if (const auto checkpoint = agree_on_checkpoint(world, run.root())) trainer->load(*checkpoint);
  }

  const DType dtype = compute_dtype(config.train());
  const double peak = world.all_reduce(measure_gemm_peak(dtype, device, kPeakMeasurementSeconds), ReduceOp::kSum);
  std::unique_ptr<TrainingReport> report;
  run_or_fail_together(world, [&] {
    if (world.rank() == 0) run.create(resolved_text(config));
  });
  require_shared_folder(world, run.checkpoints());
  run_or_fail_together(world, [&] {
    log_to_folder(run.log(), world.rank());
    report = std::make_unique<TrainingReport>(*trainer, mesh, run, peak);
  });
  return train(*trainer, world, run.root(), *report);
}

}  // namespace mudelta
