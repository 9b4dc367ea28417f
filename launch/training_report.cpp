#include "launch/training_report.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <cstdio>

#include "core/allocator.h"
#include "launch/job_devices.h"
#include "model/flops.h"

namespace mudelta {
namespace {

constexpr double kGiga = 1e9;

// 1234567 -> "1.2M".
std::string short_count(double count) {
  if (count >= 1e9) return fmt::format("{:.2f}G", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.1f}M", count / 1e6);
  if (count >= 1e3) return fmt::format("{:.1f}k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

}  // namespace

TrainingReport::TrainingReport(const Trainer& trainer, const Mesh& mesh, const RunDirectory& run, double peak_flops)
    : trainer_(trainer),
      world_(mesh.world()),
      run_(run),
      peak_flops_(peak_flops),
      flops_per_token_(flops_per_token(trainer.config().model()).training()) {
  LOG(INFO) << mesh.to_string() << ", rank " << world_.rank() << "; step " << trainer.steps_done();
  if (world_.rank() != 0) return;
  metrics_ = std::make_unique<MetricsWriter>(run.metrics(), trainer.steps_done());
  fmt::print("{}{}\n", mesh.to_string(), world_.size() > 1 ? ", over " + world_.transport() : "");
  print_summary();
  progress_ = std::make_unique<Progress>(stdout, "train", trainer.config().train().steps(), trainer.steps_done());
}

void TrainingReport::print_summary() const {
  const RunConfig& config = trainer_.config();
  const ModelConfig& model = config.model();
  fmt::print("model      {} parameters: width {}, {} layers, {} heads of {}, vocabulary {}\n",
             short_count(static_cast<double>(trainer_.num_parameters())), model.width(), model.layers(), model.heads(),
             model.head_dim(), model.vocab_size());
  fmt::print("device     {}\n", describe(trainer_.device()));
  fmt::print("a step     {} sequences x {} tokens, {} FLOP; matrix product peak {:.0f} GFLOP/s\n",
             config.train().global_batch(), config.train().sequence_length(),
             short_count(flops_per_token_ * static_cast<double>(trainer_.tokens_per_step())), peak_flops_ / kGiga);
  fmt::print("the run    {} steps, {} tokens of {}; {}\n", config.train().steps(),
             short_count(static_cast<double>(config.train().steps() * trainer_.tokens_per_step())),
             config.data().path(),
             trainer_.steps_done() > 0 ? fmt::format("goes on from step {}", trainer_.steps_done()) : "from the start");
  fmt::print("written to {}\n\n", run_.root().string());
}

void TrainingReport::step(const TrainStep& step, double seconds) {
  seconds_ += seconds;
  ++steps_;
  if (step.skipped)
    LOG(WARNING) << "step " << step.step << " skipped: loss " << step.loss << ", gradient norm " << step.gradient_norm;
  const TrainConfig& train = trainer_.config().train();
  if (step.step % train.log_every() != 0 && step.step != train.steps()) return;

  const double memory =
      world_.all_reduce(static_cast<double>(memory_stats(trainer_.device()).peak_allocated), ReduceOp::kMax);
  const double tokens_per_second = static_cast<double>(steps_ * trainer_.tokens_per_step()) / seconds_;
  seconds_ = 0;
  steps_ = 0;
  if (world_.rank() != 0) return;
  metrics_->write({.step = step.step,
                   .loss = step.loss,
                   .lr = step.lr,
                   .grad_norm = step.gradient_norm,
                   .skipped = step.skipped,
                   .tokens = trainer_.tokens_done(),
                   .tokens_per_second = tokens_per_second,
                   .mfu = tokens_per_second * flops_per_token_ / peak_flops_,
                   .memory = static_cast<std::int64_t>(memory)});
  progress_->update(step.step, fmt::format("step {}/{}  loss {:.4f}  {} tokens/s", step.step, train.steps(), step.loss,
                                           short_count(tokens_per_second)));
}

void TrainingReport::evaluation(std::int64_t step, const Evaluation& evaluation) {
  LOG(INFO) << "step " << step << ": validation loss " << evaluation.loss;
  if (world_.rank() != 0) return;
  metrics_->write(EvalMetrics{
      .step = step, .loss = evaluation.loss, .bits_per_byte = evaluation.bits_per_byte, .tokens = evaluation.tokens});
  progress_->print(fmt::format("step {}: validation loss {:.4f} nats per token, {:.4f} bits per byte", step,
                               evaluation.loss, evaluation.bits_per_byte));
}

void TrainingReport::checkpoint(std::int64_t step) {
  LOG(INFO) << "step " << step << ": checkpoint written";
  if (world_.rank() == 0) progress_->print(fmt::format("step {}: checkpoint written", step));
}

void TrainingReport::awaits_verification() {
  if (world_.rank() == 0) progress_->print("all steps are done; waiting for the checksums of the data");
}

void TrainingReport::data_verified(const VerificationCost& cost) {
  if (world_.rank() != 0 || cost.num_shards == 0) return;
  progress_->print(fmt::format("data verified: {}, beside the training", cost.to_string()));
}

void TrainingReport::stopped(std::int64_t step) {
  LOG(WARNING) << "stopped by a signal after step " << step;
  if (world_.rank() == 0) progress_->print(fmt::format("stopped by a signal after step {}: --resume goes on", step));
}

void TrainingReport::finished() {
  if (world_.rank() == 0) progress_->finish();
}

}  // namespace mudelta
