#include "launch/transfer/sweep/sweep_run.h"

#include <gmock/gmock.h>

#include "data/prepare.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One run of a small sweep, of seven steps.
class SweepRunTest : public ::testing::Test {
 protected:
  static constexpr std::int64_t kSteps = 7;

  void SetUp() override {
    std::string text;
    for (int i = 0; i < 400; ++i) text += "a text of some length, number " + std::to_string(i) + "\n\n";
    write_file(folder_ / "a.txt", text);
    prepare({.text = {.files = {folder_ / "a.txt"}}, .out = folder_ / "data", .validation_fraction = 0.1}, {});
    sweep_ = load_sweep(write_file(folder_ / "sweep.textproto", R"(
        run {
          data { path: ')" + (folder_ / "data").string() + R"(' }
          model { layers: 1 heads: 2 init_std: 0.1 }
          train { steps: 7 global_batch: 4 sequence_length: 32 eval_sequences: 4 }
          schedule { warmup_steps: 2 }
        }
        widths: [32]
        learning_rates { values: [0.004, 3] })"),
                        {});
  }

  SweepRunRequest request(double lr, const std::string& folder) const {
    const SweepRun run{.width = 32, .lr = lr, .seed = 1};
    return {.run = run, .config = config_of(sweep_, run), .folder = folder_ / folder};
  }
  static Mesh mesh() { return Mesh(); }
  static std::optional<SweepResult> train(const SweepRunRequest& request) {
    return train_run(request, mesh(), {}, [](const std::string&) { return false; });
  }

  TemporaryFolder folder_;
  SweepConfig sweep_;
};

TEST_F(SweepRunTest, OneThatWasStoppedGoesOnToTheSameBits) {
  const auto whole = train(request(0.004, "whole"));
  ASSERT_TRUE(whole && whole->loss);
  EXPECT_EQ(whole->steps, kSteps);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "whole"));

  const SweepRunRequest again = request(0.004, "stopped");
  EXPECT_FALSE(
      train_run(again, mesh(), {}, [](const std::string& status) { return status.find("step 3/") != status.npos; }));
  EXPECT_THAT(names_in(again.folder / "checkpoints"), ElementsAre("step-00000003"));
  std::vector<std::string> seen;
  const auto resumed = train_run(again, mesh(), {}, [&](const std::string& status) {
    seen.push_back(status);
    return false;
  });
  EXPECT_THAT(seen.front(), HasSubstr("step 4/7"));
  ASSERT_TRUE(resumed);
  EXPECT_EQ(resumed->loss, whole->loss);
}

TEST_F(SweepRunTest, CheckpointsAreKeptAsAsked) {
  SweepRunRequest kept = request(0.004, "kept");
  kept.config.mutable_checkpoint()->set_every_steps(3);
  kept.keep_checkpoint = true;
  ASSERT_TRUE(train(kept));
  EXPECT_THAT(names_in(kept.folder / "checkpoints"), ElementsAre("step-00000006", "step-00000007"));
  ASSERT_TRUE(train(kept));  // nothing is left to do but the evaluation
  EXPECT_THAT(names_in(kept.folder / "checkpoints"), ElementsAre("step-00000006", "step-00000007"));
}

TEST_F(SweepRunTest, OneThatEndsAboveItsFirstLossDiverged) {
  const auto result = train(request(3, "diverges"));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->steps, kSteps);  // every loss was finite
  EXPECT_FALSE(result->loss);
  // Also where the first step was another job's.
  const SweepRunRequest again = request(3, "stopped");
  EXPECT_FALSE(
      train_run(again, mesh(), {}, [](const std::string& status) { return status.find("step 6/") != status.npos; }));
  const auto resumed = train(again);
  ASSERT_TRUE(resumed);
  EXPECT_FALSE(resumed->loss);
}

}  // namespace
}  // namespace mudelta::testing
