// Runs that end before their time, through the program: nothing that was trained is lost, and no two jobs meet.

#include <gmock/gmock.h>

#include <string>

#include "data/dataset_info.h"
#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class Interruption : public TrainingFixture {
 protected:
  // A run that goes on until it is stopped.
  static constexpr const char* kEndless = "--set train.steps=1000000 --set checkpoint.every_steps=5 ";

  // Runs `script` while a run is at work, once its metrics hold `awaited`. In it, $started is the run's process. The
  // outcome is that of the run.
  static Outcome while_training(int ranks, const std::string& run, const std::string& more, const std::string& awaited,
                                const std::string& script) {
    return shell(mpirun_command(ranks, train_arguments(run, more)) + " & started=$!\n" +
                 "while kill -0 $started 2>/dev/null && ! grep -qs '" + awaited + "' " + path(run) +
                 "/metrics.jsonl; do sleep 0.01; done\n" + script + "\nwait $started");
  }

  // Options for a run on a copy of the data set whose tokens of `split` beyond `share` of it are no tokens of its
  // vocabulary.
  static std::string damaged_data(const std::string& name, Split split, double share) {
    std::filesystem::remove_all(path(name));
    std::filesystem::copy(path("data"), path(name), std::filesystem::copy_options::recursive);
    const DatasetInfo info = read_dataset_info(path(name));
    const DatasetInfo::ShardInfo& shard = (split == Split::kTrain ? info.train : info.validation).back();
    const std::string file = path(name) + "/" + shard.file;
    std::string bytes = read_file(file);
    const auto begin = 1024 + static_cast<std::size_t>(share * static_cast<double>(bytes.size() - 1024)) / 2 * 2;
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(begin), bytes.end(), '\x7f');
    write_file(file, bytes);
    return " --set data.verify=false --set data.path=" + path(name);
  }

  static void expect_one_error(const Outcome& outcome, const std::string& message) {
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error:"), 1) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(message));
  }
};

TEST_F(Interruption, AnEvaluationThatCannotRunComesAfterTheSave) {
  const std::string damaged = damaged_data("damaged", Split::kValidation, 0);
  for (const int ranks : {1, 2}) {
    const std::string last = "last" + std::to_string(ranks), middle = "middle" + std::to_string(ranks);
    expect_one_error(train(ranks, last, damaged), "token id 32639");
    EXPECT_THAT(checkpoints(last), ElementsAre("step-00000020"));
    expect_one_error(train(ranks, middle, damaged + " --set train.eval_every=7"), "token id 32639");
    EXPECT_THAT(checkpoints(middle), ElementsAre("step-00000007"));
    EXPECT_EQ(losses(middle).size(), 7u);
  }
}

TEST_F(Interruption, AStepThatCannotReadItsDataComesAfterASave) {
  const std::string damaged = damaged_data("torn", Split::kTrain, 0.5);
  for (const int ranks : {1, 2}) {
    const std::string run = "step" + std::to_string(ranks);
    const Outcome outcome =
        train(ranks, run, damaged + " --set data.shuffle=false --set train.steps=60 --set train.micro_batch=2");
    expect_one_error(outcome, "token id 32639");
    ASSERT_GT(losses(run).size(), 10u);
    EXPECT_THAT(checkpoints(run), ElementsAre(fmt::format("step-{:08}", losses(run).rbegin()->first)));
  }
}

TEST_F(Interruption, AStoppedEvaluationIsMadeOnResuming) {
  ASSERT_EQ(mudelta("prepare --input " + path("corpus.txt") + " --out " + path("long") + " --validation-fraction 0.9")
                .exit_code,
            0);
  const std::string options = "--set data.path=" + path("long") +
                              " --set train.steps=2 --set train.sequence_length=4 --set train.global_batch=2"
                              " --set train.micro_batch=1 --set schedule.warmup_steps=1 --set train.eval_sequences=";
  for (const int ranks : {1, 2}) {
    const std::string run = "evaluation" + std::to_string(ranks);
    const Outcome stopped = while_training(ranks, run, options + "0", "\"step\":2,", "kill -USR1 $started");
    EXPECT_EQ(stopped.exit_code, 143) << stopped.output;
    EXPECT_THAT(stopped.output, HasSubstr("stopped by a signal after step 2"));
    EXPECT_EQ(final_validation_loss(run), -1) << "it was over before the signal came: nothing was tested";
    EXPECT_THAT(checkpoints(run), ElementsAre("step-00000002"));
    const Outcome resumed = train(ranks, run, options + "4 --resume");
    EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
    EXPECT_GT(final_validation_loss(run), 0);
  }
}

TEST_F(Interruption, AHangupAndAClosedOutputSaveFirst) {
  const Outcome hangup = while_training(1, "hangup", kEndless, "\"step\":3,", "kill -HUP $started");
  EXPECT_EQ(hangup.exit_code, 143) << hangup.output;
  EXPECT_THAT(checkpoints("hangup"), Contains(fmt::format("step-{:08}", losses("hangup").rbegin()->first)));
  // Each evaluation prints a line, until nobody reads it.
  const std::string talkative = "--set train.steps=1000000 --set train.eval_every=1 --set train.eval_sequences=1 ";
  const Outcome closed = shell("{ " + mpirun_command(1, train_arguments("closed", talkative)) + "; echo $? >" +
                               path("closed.code") + "; } | head -n 1");
  EXPECT_EQ(read_file(path("closed.code")), "143\n") << closed.output;
  EXPECT_EQ(checkpoints("closed").size(), 1u);
}

TEST_F(Interruption, AnIgnoredHangupStaysIgnored) {
  const Outcome outcome =
      shell("trap '' HUP\n" + mpirun_command(1, train_arguments("nohup", kEndless)) +
            " & started=$!\nwhile kill -0 $started && ! grep -qs '\"step\":3,' " + path("nohup") +
            "/metrics.jsonl; do sleep 0.01; done\nkill -HUP $started\n"
            "while kill -0 $started && ! grep -qs '\"step\":9,' " +
            path("nohup") + "/metrics.jsonl; do sleep 0.01; done\nkill -TERM $started\n" + "wait $started");
  EXPECT_EQ(outcome.exit_code, 143) << outcome.output;
  EXPECT_EQ(losses("nohup").count(9), 1u);
}

TEST_F(Interruption, CheckpointsByTime) {
  for (const int ranks : {1, 2}) {
    const std::string run = "minutes" + std::to_string(ranks);
    const Outcome outcome =
        train(ranks, run, "--set train.steps=4 --set checkpoint.every_minutes=1e-9 --set checkpoint.keep=0");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_THAT(checkpoints(run), ElementsAre("step-00000001", "step-00000002", "step-00000003", "step-00000004"));
  }
}

TEST_F(Interruption, OneJobAtATime) {
  for (const int ranks : {1, 2}) {
    const std::string run = "taken" + std::to_string(ranks), log = path("second.log");
    const std::string second = mpirun_command(ranks, train_arguments(run, std::string(kEndless) + "--resume"));
    const std::string kill = "kill -9 $(sed -n 's/^pid //p' " + path(run) + "/.lock)";
    const Outcome first = while_training(ranks, run, kEndless, "\"step\":12,",
                                         second + " >" + log + " 2>&1; echo code $? >>" + log + "\n" + kill);
    EXPECT_NE(first.exit_code, 0);
    const std::string refused = read_file(log);
    EXPECT_THAT(refused, AllOf(HasSubstr("another job is at work in " + path(run) + ": process "), HasSubstr(" on "),
                               HasSubstr("begun at "), HasSubstr("code 2")));
    EXPECT_EQ(count(refused, "mudelta: error:"), 1) << refused;

    // The killed one left its lock file, which locks no more.
    EXPECT_TRUE(std::filesystem::exists(path(run) + "/.lock"));
    const Outcome resumed =
        train(ranks, run, "--resume --set train.steps=" + std::to_string(losses(run).rbegin()->first + 1));
    EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
    EXPECT_THAT(resumed.output, HasSubstr("was left by a job that did not end in good order: process "));
    EXPECT_FALSE(std::filesystem::exists(path(run) + "/.lock"));
  }
}

TEST_F(Interruption, ARenamedFolderIsFollowedAndARemovedOneIsAnError) {
  const Outcome renamed = while_training(1, "before", "--set train.steps=1000000", "\"step\":3,",
                                         "mv " + path("before") + " " + path("after") + "\nkill -TERM $started");
  EXPECT_EQ(renamed.exit_code, 143) << renamed.output;
  EXPECT_FALSE(std::filesystem::exists(path("before")));
  EXPECT_THAT(checkpoints("after"), Contains(fmt::format("step-{:08}", losses("after").rbegin()->first)));
  EXPECT_THAT(names_in(path("after")), Not(Contains(".lock")));

  const Outcome removed = while_training(1, "removed", "--set train.steps=1000000", "\"step\":3,",
                                         "rm -r " + path("removed") + "\nkill -TERM $started");
  expect_one_error(removed, path("removed") + " was removed or replaced while a job was at work in it");
  EXPECT_FALSE(std::filesystem::exists(path("removed")));
}

TEST_F(Interruption, FewerStepsThanAreDoneAreRefused) {
  ASSERT_EQ(train(1, "done").exit_code, 0);
  const std::string before = read_file(path("done") + "/metrics.jsonl");
  for (const int ranks : {1, 2}) {
    expect_one_error(train(ranks, "done", "--resume --set train.steps=10"),
                     "train.steps is 10, but the run has done 20");
  }
  EXPECT_EQ(read_file(path("done") + "/metrics.jsonl"), before);
  EXPECT_EQ(count(read_file(path("done") + "/config.textproto"), "steps: 20"), 1);
}

TEST_F(Interruption, TheStepThatEndsADivergedRunIsInTheMetrics) {
  const Outcome outcome = train(2, "diverged",
                                "--set optimizer.sgd.lr=1e30 --set train.grad_clip=0 "
                                "--set train.max_skipped_steps=3 --set train.log_every=100");
  EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
  EXPECT_THAT(read_file(path("diverged") + "/metrics.jsonl"),
              AllOf(HasSubstr("\"step\":4,"), HasSubstr("\"skipped\"")));
  EXPECT_EQ(checkpoints("diverged").size(), 0u);
}

TEST_F(Interruption, ControlCharactersInMessagesAreEscaped) {
  const Outcome outcome = mudelta("train $(printf 'a\\033[2Jb') --out " + path("escaped"));
  expect_one_error(outcome, "a\\x1b[2Jb");
  EXPECT_EQ(count(outcome.output, "\033"), 0);
}

}  // namespace
}  // namespace mudelta::testing
