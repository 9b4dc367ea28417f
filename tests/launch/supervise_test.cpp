// launch/scripts/supervise.sh with jobs that end as they are told, and with a real one that is killed.

#include <gmock/gmock.h>

#include <string>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Supervise : public TrainingFixture {
 protected:
  static std::string supervise(const std::string& arguments) {
    return std::string(MUDELTA_SUPERVISE) + " --pause 0 " + arguments;
  }

  // A job whose n-th start does what the n-th line says, the last line standing for all that follow.
  static std::string job(const std::string& name, const std::string& lines) {
    write_file(path(name + ".turns"), lines);
    write_file(path(name), "run=" + path(name + "-run") + R"sh(
starts=$(($(cat $0.starts 2>/dev/null) + 1))
echo $starts >$0.starts
commit() { mkdir -p $run/checkpoints/step-$(printf %08d $1); }
eval "$(sed -n "${starts}p;\$p" $0.turns | head -n 1)"
)sh");
    return "bash " + path(name) + " --out " + path(name + "-run") + " --resume";
  }
  static int starts(const std::string& name) { return std::stoi(read_file(path(name + ".starts"))); }
};

TEST_F(Supervise, GoesOnAfterCrashesThatGetOn) {
  const Outcome outcome = shell(supervise(
      job("gets-on", "commit 10; exit 139\nexit 137\ncommit 20; exit 1\nexit 1\ncommit 30; kill -9 $$\nexit 0\n")));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(starts("gets-on"), 6);
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("crashed (exit code 139) with step 10"),
                                    HasSubstr("crashed (exit code 137) with step 30"), Not(HasSubstr("giving up"))));
}

TEST_F(Supervise, GivesUpAtAStepThatCrashesEachTimeAndSaysSo) {
  const Outcome outcome = shell(supervise(job("stuck", "commit 7; exit 1\ncommit 8; exit 1\nexit 134\n")));
  EXPECT_EQ(outcome.exit_code, 134);
  EXPECT_EQ(starts("stuck"), 4);
  EXPECT_THAT(outcome.output, HasSubstr("giving up: the job has crashed 3 times in a row (last with exit code 134) "
                                        "with step 8 as its newest checkpoint; look at"));
  EXPECT_EQ(shell(supervise("--tries 1 " + job("once", "exit 5\n"))).exit_code, 5);
  EXPECT_EQ(starts("once"), 1);
}

TEST_F(Supervise, DoesNotRepeatWhatWouldEndAlike) {
  for (const int code : {2, 143}) {
    const std::string name = "code" + std::to_string(code);
    EXPECT_EQ(shell(supervise(job(name, "exit " + std::to_string(code) + "\n"))).exit_code, code);
    EXPECT_EQ(starts(name), 1);
  }
  EXPECT_THAT(shell(supervise("mudelta train --resume")).output, HasSubstr("no --out RUN_DIR"));
  EXPECT_THAT(shell(supervise("mudelta train --out x")).output, HasSubstr("no --resume"));
  EXPECT_THAT(shell(supervise("--tries none mudelta")).output, HasSubstr("--tries is 'none'"));
}

TEST_F(Supervise, PassesAStopOn) {
  const std::string name = "stopped";
  const Outcome outcome =
      shell(supervise(job(name, "trap 'exit 143' USR1; touch $0.ready; while true; do sleep 0.01; done\n")) +
            " & started=$!\n" + wait_until("test -e " + path(name + ".ready")) + "kill -TERM $started; wait $started");
  EXPECT_EQ(outcome.exit_code, 143) << outcome.output;
  EXPECT_EQ(starts(name), 1);
}

TEST_F(Supervise, ARunThatIsKilledIsFinished) {
  const std::string arguments = train_arguments("killed", "--resume --set checkpoint.every_steps=5 --set schedule.kind=CONSTANT");
  ASSERT_EQ(train(1, "whole", "--set schedule.kind=CONSTANT").exit_code, 0);
  // Its first start ends by kill -9 once step 7 is done.
  write_file(path("kill.sh"), "[[ -e $0.done ]] && exec " + program_path() + " \"$@\"\n" + program_path() +
                                  " \"$@\" --set train.steps=1000000 & started=$!\n" +
                                  wait_until("grep -qs '\"step\":7,' " + path("killed") + "/metrics.jsonl && test -e " +
                                             path("killed") + "/checkpoints/step-00000005") +
                                  "touch $0.done; kill -9 $started; wait $started\n");
  const Outcome outcome = shell(supervise("bash " + path("kill.sh") + " " + arguments));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("crashed (exit code 137)"));
  EXPECT_EQ(losses("killed"), losses("whole"));
}

}  // namespace
}  // namespace mudelta::testing
