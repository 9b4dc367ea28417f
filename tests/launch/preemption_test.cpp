// Stop signals and kills at moments that are held: the system waits in one call (tests/support/fault_shim.cpp).

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <string>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class Preemption : public TrainingFixture {
 protected:
  // Whatever train.steps is.
  static inline const std::string kSteady = "--set schedule.kind=CONSTANT ";

  // A run that waits in the first sync of a file whose path has `place` in it, until $gate.open is there. `script` runs
  // then; in it, $started is the run's process. The outcome is that of the run.
  static Outcome held(int ranks, const std::string& run, const std::string& more, const std::string& place,
                      const std::string& script) {
    const std::string gate = path("gate-" + std::to_string(++gates_));
    return shell("gate=" + gate + "\nLD_PRELOAD=" MUDELTA_FAULT_SHIM " MUDELTA_FAULT_KIND=HOLD MUDELTA_FAULT_CALL=1 " +
                 "MUDELTA_FAULT_GATE=$gate MUDELTA_FAULT_PATH=" + place + " " +
                 mpirun_command(ranks, train_arguments(run, kSteady + more)) + " & started=$!\n" +
                 wait_until("test -e $gate.reached") + script + "\nwait $started");
  }

  static std::string first_rank(const std::string& run) { return "$(sed -n 's/^pid //p' " + path(run) + "/.lock)"; }

  static std::string last_checkpoint(const std::string& run) {
    return fmt::format("step-{:08}", losses(run).rbegin()->first);
  }

  // After it: steps go on and end as a run that nothing happened to.
  static void expect_goes_on(int ranks, const std::string& run) {
    const Outcome outcome = train(ranks, run, kSteady + "--resume --set train.steps=20");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    const std::string whole = "whole" + std::to_string(ranks);
    if (checkpoints(whole).empty()) EXPECT_EQ(train(ranks, whole, kSteady).exit_code, 0);
    EXPECT_EQ(losses(run), losses(whole));
    EXPECT_EQ(final_validation_loss(run), final_validation_loss(whole));
  }

  static constexpr const char* kSaves = "--set checkpoint.every_steps=8 ";
  static constexpr const char* kFirstSave = "checkpoints/.tmp-step-00000008";

 private:
  static inline int gates_ = 0;
};

TEST_F(Preemption, BeforeTheFirstStepNothingIsDone) {
  for (const int ranks : {1, 2}) {
    const std::string run = "start" + std::to_string(ranks);
    const std::string stop = "kill -USR1 " + first_rank(run) + "; touch $gate.open";
    const Outcome stopped = held(ranks, run, "", run + "/config.textproto", stop);
    EXPECT_EQ(stopped.exit_code, 143) << stopped.output;
    EXPECT_TRUE(losses(run).empty());
    EXPECT_TRUE(checkpoints(run).empty());
    // The same on resuming, with a checkpoint and with an evaluation to make up for.
    EXPECT_EQ(train(ranks, run, kSteady + "--resume --set train.steps=5").exit_code, 0);
    const Outcome resumed = held(ranks, run, "--resume", run + "/config.textproto", stop);
    EXPECT_EQ(resumed.exit_code, 143) << resumed.output;
    EXPECT_THAT(resumed.output, HasSubstr("stopped by a signal after step 5"));
    EXPECT_EQ(losses(run).size(), 5u);
    EXPECT_THAT(checkpoints(run), ElementsAre("step-00000005"));
    expect_goes_on(ranks, run);
  }
}

TEST_F(Preemption, ASaveBesideTrainingIsFinishedAndThenTheLastStepSaved) {
  for (const int ranks : {1, 2}) {
    const std::string run = "saving" + std::to_string(ranks);
    // Steps 9 to 15 are done while the save is held; step 16's would wait for it.
    const Outcome stopped = held(ranks, run, kSaves, kFirstSave,
                                 wait_until("grep -qs '\"step\":10,' " + path(run) + "/metrics.jsonl") + "kill -USR1 " +
                                     first_rank(run) + "; touch $gate.open");
    EXPECT_EQ(stopped.exit_code, 143) << stopped.output;
    EXPECT_THAT(checkpoints(run), AllOf(Contains(last_checkpoint(run)), Not(Contains(HasSubstr("tmp")))));
    EXPECT_THAT(stopped.output, HasSubstr("step 8: checkpoint written"));
    expect_goes_on(ranks, run);
  }
}

TEST_F(Preemption, AKillWithinASaveBesideTrainingLeavesTheOlderOne) {
  for (const int ranks : {1, 2}) {
    const std::string run = "killed" + std::to_string(ranks);
    EXPECT_EQ(train(ranks, run, kSteady + "--set train.steps=5").exit_code, 0);
    const Outcome killed = held(ranks, run, std::string(kSaves) + "--resume --set train.steps=20", kFirstSave,
                                wait_until("grep -qs '\"step\":10,' " + path(run) + "/metrics.jsonl") + "kill -9 " +
                                    first_rank(run) + "; touch $gate.open");
    EXPECT_NE(killed.exit_code, 0);
    EXPECT_THAT(checkpoints(run), AllOf(Contains("step-00000005"), Not(Contains("step-00000008"))));
    expect_goes_on(ranks, run);
    EXPECT_THAT(checkpoints(run), Not(Contains(HasSubstr("tmp"))));
  }
}

TEST_F(Preemption, ASecondSignalEndsAtOnce) {
  EXPECT_EQ(train(1, "twice", kSteady + "--set train.steps=5").exit_code, 0);
  // The save is held for ever.
  held(1, "twice", std::string(kSaves) + "--resume --set train.steps=20", kFirstSave,
       "while kill -TERM $started 2>/dev/null; do sleep 0.05; done");
  EXPECT_THAT(checkpoints("twice"), AllOf(Contains("step-00000005"), Not(Contains("step-00000008"))));
  expect_goes_on(1, "twice");
}

}  // namespace
}  // namespace mudelta::testing
