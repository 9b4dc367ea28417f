#include "launch/train/training_report.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <utility>

#include "core/allocator.h"
#include "data/config_validation.h"
#include "dist/watchdog.h"
#include "launch/job/agreement.h"
#include "launch/job/job_devices.h"
#include "launch/job/printable.h"
#include "launch/train/event_file.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/rank_times.h"
#include "launch/train/step_traffic.h"
#include "launch/train/training_rows.h"
#include "model/flops.h"

namespace mudelta {
namespace {

constexpr double kGiga = 1e9;

// Seconds between samples of the peak: twice as many after each, and many times what one takes.
constexpr double kFirstPeakInterval = 5;
constexpr double kLargestPeakInterval = 600;
constexpr double kPeakIntervalPerSample = 50;

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// 1234567 -> "1.2M".
std::string short_count(double count) {
  if (count >= 1e9) return fmt::format("{:.2f}G", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.1f}M", count / 1e6);
  if (count >= 1e3) return fmt::format("{:.1f}k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

// "data/corpus", or "a 70%, b 30%".
std::string name_of(const DataConfig& data) {
  if (data.sources().empty()) return data.path();
  double sum = 0;
  for (const DataSource& source : data.sources()) sum += source.weight();
  std::string names;
  for (const DataSource& source : sources_of(data)) {
    names += fmt::format("{}{} {:.3g}%", names.empty() ? "" : ", ", source.name(), 100 * source.weight() / sum);
  }
  return names;
}

}  // namespace

TrainingReport::TrainingReport(Trainer& trainer, const Mesh& mesh, const RunDirectory& run, MfuPeak peak,
                               const std::vector<std::string>& notes)
    : trainer_(trainer),
      world_(mesh.world()),
      run_(run),
      peak_(std::move(peak)),
      peak_interval_(kFirstPeakInterval),
      flops_per_token_(flops_per_token(trainer.config().model()).training()) {
  mpi_seconds_before_ = seconds_in_mpi();
  LOG(INFO) << mesh.sizes().to_string() << ", rank " << world_.rank() << "; step " << trainer.steps_done();
  for (const std::string& note : notes) LOG(INFO) << note;
  if (world_.rank() != 0) return;
  open_sinks(run);
  fmt::print("{}{}\n", mesh.sizes().to_string(), world_.size() > 1 ? ", over " + world_.transport() : "");
  print_summary(mesh, notes);
  progress_ = std::make_unique<Progress>(stdout, "train", trainer.config().train().steps(), trainer.steps_done());
}

// Drops what they have of later steps than are done.
void TrainingReport::open_sinks(const RunDirectory& run) {
  sinks_.clear();
  auto metrics = std::make_unique<MetricsWriter>(run.metrics(), trainer_.steps_done());
  has_evaluation_ = metrics->has_evaluation();
  sinks_.push_back(std::move(metrics));
  sinks_.push_back(std::make_unique<EventFile>(run.root(), trainer_.steps_done()));
}

void TrainingReport::print_summary(const Mesh& mesh, const std::vector<std::string>& notes) const {
  const RunConfig& config = trainer_.config();
  const ModelConfig& model = config.model();
  fmt::print("model      {} parameters: width {}, {} layers, {} heads of {}, vocabulary {}\n",
             short_count(static_cast<double>(trainer_.num_parameters())), model.width(), model.layers(), model.heads(),
             model.head_dim(), model.vocab_size());
  if (world_.size() > 1) print_share(mesh);
  fmt::print("device     {}\n", describe(trainer_.device()));
  fmt::print("a step     {} sequences x {} tokens, {} FLOP; matrix product peak {:.0f} GFLOP/s\n",
             config.train().global_batch(), config.train().sequence_length(),
             short_count(flops_per_token_ * static_cast<double>(trainer_.tokens_per_step())),
             peak_.flops_per_second() / kGiga);
  fmt::print("the run    {} steps, {} tokens of {}; {}\n", config.train().steps(),
             short_count(static_cast<double>(config.train().steps() * trainer_.tokens_per_step())),
             printable(name_of(config.data())),
             trainer_.steps_done() > 0 ? fmt::format("goes on from step {}", trainer_.steps_done()) : "from the start");
  for (const std::string& note : notes) fmt::print("           {}\n", printable(note));
  fmt::print("written to {}\n\n", printable(run_.root().string()));
}

void TrainingReport::print_share(const Mesh& mesh) const {
  std::int64_t held = 0;
  for (const Parameter& parameter : trainer_.store().parameters()) held += parameter.slice_map().numel();
  const auto whole = static_cast<double>(trainer_.num_parameters());
  const std::vector<Collective> traffic = step_traffic(trainer_.config(), mesh.sizes(), mesh.tensor().rank());
  const double tensor = sent_bytes(traffic, Axis::kTensor), context = sent_bytes(traffic, Axis::kContext);
  const double gradients = sent_bytes(traffic, Axis::kGradients);
  constexpr std::array kCut = {"", "optimizer state", "gradients and optimizer state",
                               "weights, gradients and optimizer state"};
  const int sharing = mesh.gradients().size(), stage = zero_stage(trainer_.config().parallel(), sharing);
  const std::string part = stage == 0 ? ""
                                      : fmt::format(", {} of {}", kCut.at(static_cast<std::size_t>(stage)),
                                                    short_count(static_cast<double>(held) / sharing));
  fmt::print("a rank     has {} parameters ({:.1f}%){}\n", short_count(static_cast<double>(held)),
             100 * static_cast<double>(held) / whole, part);
  const double matrices = sent_bytes(traffic, Axis::kWorld);  // Muon's
  fmt::print("           sends {} a step: tensor {}, context {}, gradients and weights {}{}\n",
             human_bytes(tensor + context + gradients + matrices), human_bytes(tensor), human_bytes(context),
             human_bytes(gradients), matrices > 0 ? ", matrices " + human_bytes(matrices) : "");
}

bool TrainingReport::lacks_evaluation() const {
  return world_.all_reduce(world_.rank() == 0 && !has_evaluation_ ? 1.0 : 0.0, ReduceOp::kMax) > 0;
}

void TrainingReport::step(const TrainStep& step, double seconds) {
  count(step, seconds);
  look_at_rank_times(step);
  const TrainConfig& train = trainer_.config().train();
  if (step.step % train.log_every() == 0 || step.step == train.steps() || step.skipped || !step.norms.empty())
    write_record(step);
}

// Of all that happened since the last look, evaluations and saves included.
void TrainingReport::look_at_rank_times(const TrainStep& step) {
  const std::int64_t every = trainer_.config().train().rank_times_every();
  if (every == 0 || step.step % every != 0) return;
  const double in_mpi = seconds_in_mpi();
  const std::string text =
      describe_rank_times(world_, since_rank_times_.lap() - (in_mpi - std::exchange(mpi_seconds_before_, in_mpi)));
  LOG_IF(INFO, world_.rank() == 0) << "step " << step.step << ": in the last " << every << " steps " << text;
}

void TrainingReport::diverged(const TrainStep& step, double seconds) {
  count(step, seconds);
  write_record(step);
}

void TrainingReport::count(const TrainStep& step, double seconds) {
  seconds_ += seconds;
  ++steps_;
  if (!step.skipped) return;
  LOG(WARNING) << "step " << step.step << " skipped: " << step.fault << ", " << to_string(step.rows)
               << " of the training data's order";
}

void TrainingReport::write_record(const TrainStep& step) {
  const double memory =
      world_.all_reduce(static_cast<double>(memory_stats(trainer_.device()).peak_allocated), ReduceOp::kMax);
  const double tokens_per_second = static_cast<double>(steps_ * trainer_.tokens_per_step()) / seconds_;
  seconds_ = 0;
  steps_ = 0;
  run_or_fail_together(world_, [&] {
    if (world_.rank() != 0) return;
    write(StepMetrics{.step = step.step,
                      .time = seconds_since_1970(),
                      .loss = step.loss,
                      .lr = step.lr,
                      .grad_norm = step.gradient_norm,
                      .skipped = step.skipped,
                      .fault = step.fault,
                      .first_row = step.rows.begin(),
                      .last_row = step.rows.end() - 1,
                      .clipped = step.clipped,
                      .tokens = trainer_.tokens_done(),
                      .tokens_per_second = tokens_per_second,
                      .mfu = tokens_per_second * flops_per_token_ / peak_.flops_per_second(),
                      .peak_flops = peak_.flops_per_second(),
                      .memory = static_cast<std::int64_t>(memory),
                      .seconds = trainer_.take_seconds(),
                      .bytes_sent = step.bytes_sent,
                      .norms = step.norms,
                      .sources = step.sources});
    progress_->update(step.step,
                      fmt::format("step {}/{}  loss {:.4f}  {} tokens/s", step.step, trainer_.config().train().steps(),
                                  step.loss, short_count(tokens_per_second)));
  });
}

void TrainingReport::evaluation(std::int64_t step, const Evaluation& evaluation, double seconds) {
  LOG(INFO) << "step " << step << ": validation loss " << evaluation.loss;
  run_or_fail_together(world_, [&] {
    if (world_.rank() != 0) return;
    write(EvalMetrics{.step = step,
                      .loss = evaluation.loss,
                      .bits_per_byte = evaluation.bits_per_byte,
                      .tokens = evaluation.tokens,
                      .seconds = seconds,
                      .source_losses = evaluation.source_losses});
    progress_->print(fmt::format("step {}: validation loss {:.4f} nats per token, {:.4f} bits per byte", step,
                                 evaluation.loss, evaluation.bits_per_byte));
  });
}

void TrainingReport::checkpoint(std::int64_t step, double seconds) {
  LOG(INFO) << "step " << step << ": checkpoint written";
  run_or_fail_together(world_, [&] {
    if (world_.rank() != 0) return;
    write(CheckpointMetrics{.step = step, .seconds = seconds});
    progress_->print(fmt::format("step {}: checkpoint written", step));
  });
}

void TrainingReport::rolled_back(const RunDirectory& run, const TrainStep& bad) {
  const std::int64_t step = trainer_.steps_done();
  const std::string text = fmt::format("step {} had {}: back to step {}, leaving out {} of the training data's order",
                                       bad.step, bad.fault, step, to_string(bad.rows));
  LOG(WARNING) << text;
  run_or_fail_together(world_, [&] {
    if (world_.rank() != 0) return;
    open_sinks(run);
    write(RollbackMetrics{.step = step,
                          .bad_step = bad.step,
                          .fault = bad.fault,
                          .first_row = bad.rows.begin(),
                          .last_row = bad.rows.end() - 1});
    progress_->print(text);
  });
}

void TrainingReport::save_failed(std::int64_t step, const std::string& reason) {
  LOG(WARNING) << "step " << step << ": no checkpoint: " << printable(reason)
               << "; older ones are as they were, training goes on, and it is tried again soon";
}

// A GPU is not shared, as a rule, and takes seconds to fill.
bool TrainingReport::wants_peak() const {
  return !trainer_.device().is_cuda() && since_peak_.seconds() >= peak_interval_;
}

void TrainingReport::measure_peak() {
  const Stopwatch sample;
  peak_.sample();
  peak_interval_ =
      std::max(std::min(2 * peak_interval_, kLargestPeakInterval), kPeakIntervalPerSample * sample.seconds());
  since_peak_.lap();
}

void TrainingReport::awaits_verification() {
  if (world_.rank() == 0) progress_->print("all steps are done; waiting for the checksums of the data");
}

void TrainingReport::data_verified(const VerificationCost& cost) {
  if (world_.rank() != 0 || cost.num_shards == 0) return;
  progress_->print(fmt::format("data verified: {}, beside the training", cost.to_string()));
}

void TrainingReport::stopped(std::int64_t step) {
  LOG(INFO) << "stopped by a signal after step " << step;
  if (world_.rank() == 0) progress_->print(fmt::format("stopped by a signal after step {}: --resume goes on", step));
}

void TrainingReport::finished() {
  if (world_.rank() == 0) progress_->finish();
}

}  // namespace mudelta
