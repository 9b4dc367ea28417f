#include "launch/transfer/sweep/sweep_run.h"

#include <fmt/format.h>

#include <memory>

#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/job/agreement.h"
#include "launch/job/stopwatch.h"
#include "launch/train/trainer.h"

namespace mudelta {
namespace {

using StopQuestion = std::function<bool(const std::string& status)>;

class TrainedRun {
 public:
  TrainedRun(const SweepRunRequest& request, const Mesh& mesh, Device device, const StopQuestion& stop)
      : request_(request), world_(mesh.world()), stop_(stop) {
    run_or_fail_together(world_, [&] { trainer_ = std::make_unique<Trainer>(request.config, mesh, device); });
    load_newest_checkpoint();
  }

  std::optional<SweepResult> finish() {
    SweepResult result{.run = request_.run};
    try {
      if (!train()) return std::nullopt;
      const auto evaluation = evaluate();
      if (!evaluation) return std::nullopt;
      const double loss = evaluation->loss;
      if (loss <= trainer_->first_loss()) result.loss = loss;
      if (request_.keep_checkpoint) save();
    } catch (const Divergence&) {
    }
    result.steps = trainer_->steps_done();
    result.seconds = stopwatch_.seconds();
    return result;
  }

 private:
  enum Wish { kNone, kSave, kStop };

  // The strongest of all ranks'.
  Wish agree(Wish wish) const { return static_cast<Wish>(world_.all_reduce(wish, ReduceOp::kMax)); }

  // All steps that are left; false: stopped before the last.
  bool train() {
    const std::int64_t steps = request_.config.train().steps();
    while (trainer_->steps_done() < steps) {
      const TrainStep done = trainer_->step();
      const std::string status =
          fmt::format("{}: step {}/{}, loss {:.4f}", request_.run.to_string(), done.step, steps, done.loss);
      const Wish wish = agree(stop_(status) ? kStop : checkpoint_is_due() && !done.skipped ? kSave : kNone);
      if (wish != kNone) save();
      if (wish == kStop) return false;
    }
    return true;
  }

  // Nothing if it was stopped; the run is saved then.
  std::optional<Evaluation> evaluate() {
    const std::string status = request_.run.to_string() + ": evaluation";
    const auto evaluation = trainer_->evaluate([&] { return agree(stop_(status) ? kStop : kNone) == kStop; });
    if (!evaluation) save();
    return evaluation;
  }

  // Whether a multiple of every_steps, or every_minutes, have come since the last save.
  bool checkpoint_is_due() const {
    const CheckpointConfig& config = request_.config.checkpoint();
    const std::int64_t every = config.every_steps();
    return (every > 0 && trainer_->steps_done() / every > saved_step_ / every) ||
           (config.every_minutes() > 0 && since_save_.seconds() >= 60 * config.every_minutes());
  }

  void save() {
    if (saved_step_ == trainer_->steps_done()) return;
    trainer_->save(request_.folder);
    saved_step_ = trainer_->steps_done();
    since_save_.lap();
  }

  void load_newest_checkpoint() {
    std::string found;
    run_or_fail_together(world_, [&] {
      if (world_.rank() != 0) return;
      remove_leftovers(request_.folder);
      if (const auto checkpoint = newest_checkpoint(request_.folder)) found = checkpoint->string();
    });
    found = world_.all_gather(found).front();
    if (!found.empty()) trainer_->load(found);
    saved_step_ = trainer_->steps_done();
  }

  const SweepRunRequest& request_;
  const ProcessGroup world_;
  const StopQuestion& stop_;
  const Stopwatch stopwatch_;
  Stopwatch since_save_;
  std::unique_ptr<Trainer> trainer_;
  std::int64_t saved_step_ = 0;
};

}  // namespace

std::optional<SweepResult> train_run(const SweepRunRequest& request, const Mesh& mesh, Device device,
                                     const StopQuestion& stop) {
  return TrainedRun(request, mesh, device, stop).finish();
}

}  // namespace mudelta
