#include "launch/train/training_loop.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "launch/checkpoint/checkpoint_folder.h"
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
      : trainer_(trainer),
        world_(world),
        lock_(lock),
        report_(report),
        first_step_(trainer.steps_done()),
        saved_step_(trainer.steps_done()),
        tried_step_(saved_step_) {}

  int run() {
    evaluation_is_due_ = evaluates(trainer_.steps_done()) && report_.lacks_evaluation();
    if (!evaluation_is_due_ && is_finished()) return finish();
    verification_.emplace(world_, trainer_.config().data());
    if (is_asynchronous()) run_or_fail_together(world_, [&] { trainer_.reserve_save(); });
    stop_ = stop_signalled(world_);
    try {
      while (!stop_ && (evaluation_is_due_ || !is_finished())) {
        if (evaluation_is_due_) {
          evaluate();
        } else {
          step();
        }
      }
      if (stop_) {
        save_last();
      } else {
        await_verification();
      }
    } catch (const UnsavedError&) {
      finish_save_in_any_case();
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
    TrainStep done;
    try {
      const bool is_first = trainer_.steps_done() == first_step_;  // so that short jobs get on, too
      const auto step = trainer_.step_unless(is_first ? std::function<bool()>() : [] { return stop_signalled(); });
      if (!step) {
        stop_ = true;
        return;
      }
      done = *step;
      evaluation_is_due_ = evaluates(done.step);
      report_.step(done, stopwatch.seconds());
    } catch (const Divergence& diverged) {
      report_.diverged(diverged.step(), stopwatch.seconds());
      throw;
    }
    if (done.skipped && trainer_.config().train().on_bad_step() == TrainConfig::ROLLBACK) roll_back(done);
    give_sign_of_life();
    look_at_verification();
    agree();
    if (measure_peak_) report_.measure_peak();
    finish_written_save();
    if (is_finished()) {
      save_last();
    } else if (!done.skipped && (time_to_save_ || steps_to_save())) {
      begin_save();
    }
  }

  // To the newest checkpoint; with none yet, the step is skipped.
  void roll_back(const TrainStep& bad) {
    finish_save();
    if (saved_step_ == 0) return;
    const std::filesystem::path run = folder_of_save();
    trainer_.roll_back(checkpoint_path(run, saved_step_), bad);
    tried_step_ = saved_step_;
    retry_step_.reset();
    report_.rolled_back(RunDirectory(run), bad);
    evaluation_is_due_ = evaluates(saved_step_) && report_.lacks_evaluation();
  }

  // Whether a multiple of every_steps has come since the last save, or one that failed is to be tried again.
  bool steps_to_save() const {
    const std::int64_t every = trainer_.config().checkpoint().every_steps(), step = trainer_.steps_done();
    return (every > 0 && step / every > tried_step_ / every) || (retry_step_ && step >= *retry_step_);
  }

  void evaluate() {
    const Stopwatch stopwatch;
    const auto evaluation = trainer_.evaluate([this] {
      give_sign_of_life();
      finish_written_save();
      return stop_ = stop_signalled(world_);
    });
    if (!evaluation) return;
    evaluation_is_due_ = false;
    report_.evaluation(trainer_.steps_done(), *evaluation, stopwatch.seconds());
  }

  void give_sign_of_life() const {
    if (lock_ != nullptr) lock_->touch();
  }

  void look_at_verification() {
    if (!verified_ && (verified_ = verification_->is_done())) report_.data_verified(verification_->cost());
  }

  // Until it is done or the run is stopped.
  void await_verification() {
    look_at_verification();
    if (!verified_) report_.awaits_verification();
    for (; !verified_ && !stop_signalled(world_); look_at_verification()) {
      give_sign_of_life();
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

  bool is_asynchronous() const { return trainer_.config().checkpoint().asynchronous(); }

  // Saves the last step while training goes on, once nothing else is being saved.
  void begin_save() {
    finish_save();
    tried_step_ = trainer_.steps_done();
    retry_step_.reset();
    since_save_.lap();
    const Stopwatch stopwatch;
    const std::filesystem::path run = folder_of_save();
    const bool has_begun = attempt([&] { is_asynchronous() ? trainer_.begin_save(run) : trainer_.save(run); });
    pause_ = stopwatch.seconds();
    if (has_begun && !is_asynchronous()) saved();
  }

  // What is under way, if all of it has been written.
  void finish_written_save() {
    if (trainer_.save_is_under_way() && trainer_.save_is_written()) finish_save();
  }

  // Waits for what is under way.
  void finish_save() {
    if (!trainer_.save_is_under_way()) return;
    const Stopwatch stopwatch;
    const std::filesystem::path run = folder_of_save();
    const bool is_finished = attempt([&] { trainer_.finish_save(run); });
    pause_ += stopwatch.seconds();
    if (is_finished) saved();
  }

  void saved() {
    saved_step_ = tried_step_;
    failures_ = 0;
    report_.checkpoint(saved_step_, pause_);
  }

  // Whether it succeeds. A save that fails is tried again later, each time after twice as many steps, if the run is to
  // go on.
  bool attempt(const std::function<void()>& part_of_a_save, bool must_succeed = false) {
    try {
      part_of_a_save();
      return true;
    } catch (const SharedError& error) {
      if (must_succeed || trainer_.config().checkpoint().on_save_failure() == CheckpointConfig::STOP) {
        is_ended_by_save_ = true;
        throw;
      }
      constexpr int kMostDoublings = 20;
      retry_step_ = trainer_.steps_done() + (std::int64_t{1} << std::min(failures_++, kMostDoublings));
      report_.save_failed(tried_step_, error.what());
      return false;
    }
  }

  // The checkpoint that the run ends with.
  void save_last() {
    finish_save();
    if (saved_step_ == trainer_.steps_done()) return;
    tried_step_ = trainer_.steps_done();
    const Stopwatch stopwatch;
    const std::filesystem::path run = folder_of_save();
    attempt([&] { trainer_.save(run); }, /*must_succeed=*/true);
    pause_ = stopwatch.seconds();
    saved();
  }

  void save_after(const Error& error) {
    if (is_ended_by_save_) return;
    try {
      save_last();
    } catch (const SharedError& second) {
      throw SharedError(fmt::format("{}; then the checkpoint could not be written: {}", error.what(), second.what()));
    }
  }

  // Of a run that ends on an error of its own.
  void finish_save_in_any_case() {
    try {
      finish_save();
    } catch (const SharedError& error) {
      report_.save_failed(tried_step_, error.what());
    }
  }

  // There is nothing to go on with where it is gone.
  std::filesystem::path folder_of_save() {
    std::filesystem::path run;
    attempt([&] { run = folder(); }, /*must_succeed=*/true);
    return run;
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
  const std::int64_t first_step_;
  std::int64_t saved_step_;  // the last whose checkpoint is there
  std::int64_t tried_step_;  // the last whose checkpoint was begun: of the save that is under way
  Stopwatch since_save_;
  double pause_ = 0;                        // seconds for which training has stood still for the save that is under way
  bool is_ended_by_save_ = false;           // by one that failed
  int failures_ = 0;                        // of saves, in a row
  std::optional<std::int64_t> retry_step_;  // after which a save that failed is tried again
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
  return TrainingLoop(trainer, world, lock, report).run();
}

}  // namespace mudelta
