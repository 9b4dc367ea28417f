// Runs that meet bad steps, through the program: what they skip, go back from, and end by.

#include <gmock/gmock.h>

#include <string>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kStepTokens = 12 * 48;  // of TrainingFixture's runs
constexpr int kBadStep = 18;

class BadSteps : public TrainingFixture {
 protected:
  // Data sets that steps read in file order. In the first, step kBadStep meets bytes that the text has nowhere else; in
  // the second that step's tokens are left out.
  static void SetUpTestSuite() {
    TrainingFixture::SetUpTestSuite();
    const std::string clean = text();
    const std::size_t begin = (kBadStep - 1) * kStepTokens - 1;  // a separator comes before the text
    std::string noise;
    for (int i = 0; i < kStepTokens; ++i) noise += static_cast<char>(1 + (i * i * 31 + i / 7) % 8);
    noise.front() = clean[begin];  // the target of the token before
    make_data("noisy", clean.substr(0, begin) + noise + clean.substr(begin));
    make_data("clean", clean);
  }

  static void make_data(const std::string& name, const std::string& content) {
    write_file(path(name + ".txt"), content);
    const Outcome prepared = mudelta("prepare --input " + path(name + ".txt") + " --out " + path(name) +
                                     " --separator '' --validation-fraction 0.1");
    ASSERT_EQ(prepared.exit_code, 0) << prepared.output;
  }

  static Outcome train_on(const std::string& data, int ranks, const std::string& run, const std::string& more) {
    return train(ranks, run,
                 "--set data.path=" + path(data) +
                     " --set data.shuffle=false --set train.steps=24 --set optimizer.adamw.lr=2e-3"
                     " --set train.eval_sequences=4 --set checkpoint.every_steps=5 --set checkpoint.keep=0 " +
                     more);
  }

  static constexpr const char* kDetect =
      "--set train.spike_window=8 --set train.spike_threshold=5 --set train.on_bad_step=";
};

TEST_F(BadSteps, ARollbackTrainsAsIfTheRowsWereNotThere) {
  ASSERT_EQ(train_on("clean", 1, "expected", "").exit_code, 0);
  for (const int ranks : {1, 2}) {
    const std::string run = "rollback" + std::to_string(ranks);
    const Outcome outcome = train_on("noisy", ranks, run, std::string(kDetect) + "ROLLBACK");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("back to step 15, leaving out rows 204 to 215 of the training data's order"));
    const auto found = losses(run), expected = losses("expected");  // each step once
    ASSERT_EQ(found.size(), 24u);
    for (const auto& [step, loss] : expected) EXPECT_NEAR(found.at(step), loss, ranks == 1 ? 0 : 1e-4) << step;
    int rollbacks = 0;
    for (const auto& record : records(run)) {
      if (!record.contains("rolled_back_from")) continue;
      ++rollbacks;
      EXPECT_EQ(record["step"], 15);
      EXPECT_EQ(record["rolled_back_from"], kBadStep);
      EXPECT_EQ(record["rows"], nlohmann::json({204, 215}));
    }
    EXPECT_EQ(rollbacks, 1);
    EXPECT_THAT(checkpoints(run),
                ElementsAre("step-00000005", "step-00000010", "step-00000015", "step-00000020", "step-00000024"));
    // What the rollback decided is in the checkpoints that follow it.
    EXPECT_EQ(train_on("noisy", ranks, run, std::string(kDetect) + "ROLLBACK --resume --from 20").exit_code, 0);
    EXPECT_EQ(losses(run), found);
  }
  EXPECT_EQ(shard_bytes("rollback1", "step-00000024", 0, 1), shard_bytes("expected", "step-00000024", 0, 1));
}

TEST_F(BadSteps, AResumedRunDecidesAlike) {
  ASSERT_EQ(train_on("noisy", 2, "skips", std::string(kDetect) + "SKIP").exit_code, 0);
  std::vector<std::int64_t> skipped;
  for (const auto& record : records("skips")) {
    if (!record.value("skipped", false)) continue;
    skipped.push_back(record["step"]);
    EXPECT_THAT(record["fault"].get<std::string>(), HasSubstr("a loss spike"));
    EXPECT_EQ(record["rows"], nlohmann::json({204, 215}));
  }
  EXPECT_THAT(skipped, ElementsAre(kBadStep));
  const auto whole = losses("skips");
  // The window of losses is that of the checkpoint: it is full again at the next step.
  ASSERT_EQ(train_on("noisy", 2, "skips", std::string(kDetect) + "SKIP --resume --from 15").exit_code, 0);
  EXPECT_EQ(losses("skips"), whole);
}

TEST_F(BadSteps, EndARunThatAllowsNone) {
  for (const int ranks : {1, 2}) {
    const std::string n = std::to_string(ranks);
    const Outcome aborted = train_on("noisy", ranks, "aborted" + n, std::string(kDetect) + "ABORT");
    EXPECT_EQ(aborted.exit_code, 2) << aborted.output;
    EXPECT_EQ(count(aborted.output, "mudelta: error: training diverged: step 18 had a loss spike"), 1)
        << aborted.output;
    EXPECT_THAT(checkpoints("aborted" + n), ElementsAre("step-00000005", "step-00000010", "step-00000015"));
    const Outcome bounded =
        train_on("noisy", ranks, "bounded" + n, std::string(kDetect) + "ROLLBACK --set train.max_rollbacks=0");
    EXPECT_EQ(bounded.exit_code, 2) << bounded.output;
    EXPECT_EQ(count(bounded.output, "after 0 rollbacks (train.max_rollbacks)"), 1) << bounded.output;
    EXPECT_EQ(losses("bounded" + n).count(kBadStep), 1u);
  }
}

}  // namespace
}  // namespace mudelta::testing
