#include "launch/train/training_loop.h"

#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "launch/job/agreement.h"
#include "launch/job/stop_signals.h"
#include "launch/job/stopwatch.h"
#include "launch/train/data_verification.h"

namespace mudelta {
namespace {

constexpr int kStoppedBySignal = 143;  // 128 + SIGTERM

bool due(std::int64_t every, std::int64_t step) { return every > 0 && step % every == 0; }

class TrainingLoop {
 public:
  TrainingLoop(Trainer& trainer, const ProcessGroup& world, const FolderLock* lock, TrainingReport& report)
      : trainer_(trainer), world_(world), lock_(lock), report_(report), saved_step_(trainer.steps_done()) {}

  int run() {
    evaluation_is_due_ = evaluates(trainer_.steps_done()) && report_.lacks_evaluation();
    if (!evaluation_is_due_ && is_finished()) return finish();
    verification_.emplace(world_, trainer_.config().data());
    try {
      while (!stop_ && (evaluation_is_due_ || !is_finished())) {
        if (evaluation_is_due_) {
          evaluate();
        } else {
          step();
        }
      }
      if (stop_) {
        save();
      } else {
        await_verification();
      }
    } catch (const Divergence&) {
      throw;
    } catch (const DamagedData&) {
      throw;
    } catch (const SharedError& error) {  // the ranks are in step, and weights as after the last whole step
      save_after(error);
      throw;
    }
    if (!evaluation_is_due_ && is_finished()) return finish();
    report_.stopped(trainer_.steps_done());
    return kStoppedBySignal;
  }

 private:
  int finish() {
    report_.finished();
    return 0;
  }

  bool is_finished() const { return trainer_.steps_done() >= trainer_.config().train().steps(); }

  bool evaluates(std::int64_t step) const {
    const TrainConfig& train = trainer_.config().train();
    return step > 0 && (step == train.steps() || due(train.eval_every(), step));
  }

  void step() {
    const Stopwatch stopwatch;
    bool is_good = false;
    try {
      const TrainStep done = trainer_.step();
      is_good = !done.skipped;
      evaluation_is_due_ = evaluates(done.step);
      report_.step(done, stopwatch.seconds());
    } catch (const Divergence& diverged) {
      report_.diverged(diverged.step(), stopwatch.seconds());
      throw;
    }
    look_at_verification();
    agree();
    if (measure_peak_) report_.measure_peak();
    if (is_finished() || (is_good && (time_to_save_ || steps_to_save()))) save();
  }

  // Whether a multiple of every_steps has come since the last save.
  bool steps_to_save() const {
    const std::int64_t every = trainer_.config().checkpoint().every_steps();
    return every > 0 && trainer_.steps_done() / every > saved_step_ / every;
  }

  void evaluate() {
    const Stopwatch stopwatch;
    const auto evaluation = trainer_.evaluate([this] { return stop_ = stop_signalled(world_); });
    if (!evaluation) return;
    evaluation_is_due_ = false;
    report_.evaluation(trainer_.steps_done(), *evaluation, stopwatch.seconds());
  }

  void look_at_verification() {
    if (!verified_ && (verified_ = verification_->is_done())) report_.data_verified(verification_->cost());
  }

  // Until it is done or the run is stopped.
  void await_verification() {
    look_at_verification();
    if (!verified_) report_.awaits_verification();
    for (; !verified_ && !stop_signalled(world_); look_at_verification()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  // What rank 0's clock asks for, and whether a signal has reached any rank.
  void agree() {
    constexpr int kSave = 1, kMeasurePeak = 2, kStop = 4;
    int wishes = 0;
    if (world_.rank() == 0) {
      const double minutes = trainer_.config().checkpoint().every_minutes();
      if (minutes > 0 && since_save_.seconds() >= 60 * minutes) wishes |= kSave;
      if (report_.wants_peak()) wishes |= kMeasurePeak;
    }
    if (stop_signalled()) wishes = kStop;
    const int agreed = static_cast<int>(world_.all_reduce(wishes, ReduceOp::kMax));
    stop_ = agreed == kStop;
    time_to_save_ = !stop_ && (agreed & kSave) != 0;
    measure_peak_ = !stop_ && (agreed & kMeasurePeak) != 0;
  }

  // Writes the checkpoint of the last step, once.
  void save() {
    if (saved_step_ == trainer_.steps_done()) return;
    saved_step_ = trainer_.steps_done();
    const Stopwatch stopwatch;
    trainer_.save(folder());
    report_.checkpoint(saved_step_, stopwatch.seconds());
    since_save_.lap();
  }

  void save_after(const Error& error) {
    try {
      save();
    } catch (const SharedError& second) {
      throw SharedError(fmt::format("{}; then the checkpoint could not be written: {}", error.what(), second.what()));
    }
  }

  // Where the run's folder is now.
  std::filesystem::path folder() const {
    std::string folder;
    run_or_fail_together(world_, [&] {
      if (lock_ != nullptr) folder = lock_->folder().string();
    });
    return world_.all_gather(folder).front();
  }

  Trainer& trainer_;
  const ProcessGroup& world_;
  const FolderLock* const lock_;
  TrainingReport& report_;
  std::int64_t saved_step_;  // the last whose checkpoint is there, or was tried
  Stopwatch since_save_;
  std::optional<DataVerification> verification_;
  bool verified_ = false;
  bool evaluation_is_due_ = false;  // of the last step
  // Agreed after each step.
  bool stop_ = false;
  bool time_to_save_ = false;
  bool measure_peak_ = false;
};

}  // namespace

int run_training_loop(Trainer& trainer, const ProcessGroup& world, const FolderLock* lock, TrainingReport& report) {
  catch_stop_signals();
  return TrainingLoop(trainer, world, lock, report).run();
}

}  // namespace mudelta
