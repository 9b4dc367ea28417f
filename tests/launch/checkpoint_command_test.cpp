// `mudelta checkpoint` and `train --resume --from`, as a user runs them.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class CheckpointCommand : public TrainingFixture {
 protected:
  static constexpr char kSettings[] =
      "--set train.steps=12 --set checkpoint.every_steps=2 --set checkpoint.keep=2 --set checkpoint.keep_every=4 ";

  static std::string checkpoint(const std::string& run, const std::string& name) {
    return path(run) + "/checkpoints/" + name;
  }
};

TEST_F(CheckpointCommand, ListsShowsAndPrunes) {
  ASSERT_EQ(train(2, "run", std::string(kSettings) + "--set parallel.tensor=2").exit_code, 0);
  const Outcome listed = mudelta("checkpoint ls " + path("run"));
  EXPECT_EQ(listed.exit_code, 0);
  EXPECT_THAT(listed.output, AllOf(HasSubstr("a multiple of 4"), HasSubstr("among the 2 newest"),
                                   HasSubstr("the newest"), HasSubstr("data 1 x context 1 x tensor 2")));
  const Outcome shown = mudelta("checkpoint show " + path("run"));
  EXPECT_EQ(shown.exit_code, 0);
  EXPECT_THAT(shown.output, AllOf(HasSubstr("step        12 of 12"), HasSubstr("shard-00001-of-00002.safetensors"),
                                  HasSubstr("width 32, 2 layers"), HasSubstr("layers.1.")));

  EXPECT_THAT(mudelta("checkpoint prune --dry-run --keep-every 8 " + path("run")).output,
              AllOf(HasSubstr("would remove"), HasSubstr("step-00000004"), Not(HasSubstr("step-00000008"))));
  EXPECT_THAT(checkpoints("run"), ElementsAre("step-00000004", "step-00000008", "step-00000010", "step-00000012"));
  EXPECT_THAT(mudelta("checkpoint prune " + path("run")).output, HasSubstr("nothing to remove"));
  EXPECT_EQ(mudelta("checkpoint prune --keep 1 --keep-every 0 " + path("run")).exit_code, 0);
  EXPECT_THAT(checkpoints("run"), ElementsAre("step-00000012"));

  EXPECT_EQ(mudelta("checkpoint ls " + path("data")).exit_code, 2);
}

TEST_F(CheckpointCommand, VerifiesComparesAndConsolidates) {
  ASSERT_EQ(train(1, "whole", kSettings).exit_code, 0);
  EXPECT_EQ(mudelta("checkpoint verify " + path("whole")).exit_code, 0);
  const Outcome compared = mudelta("checkpoint diff " + checkpoint("whole", "step-00000010") + " " + path("whole"));
  EXPECT_EQ(compared.exit_code, 0);
  EXPECT_THAT(compared.output, AllOf(HasSubstr("embeddings"), HasSubstr("\nall ")));
  const std::string consolidate = "checkpoint consolidate " + path("whole") + " --out " + path("one-file");
  EXPECT_EQ(mudelta(consolidate).exit_code, 0);
  EXPECT_THAT(names_in(path("one-file")), ElementsAre("config.json", "model.safetensors"));
  EXPECT_EQ(mudelta(consolidate).exit_code, 2);
  EXPECT_EQ(mudelta(consolidate + " --force").exit_code, 0);

  const std::string shard = checkpoint("whole", "step-00000004") + "/shard-00000-of-00001.safetensors";
  std::filesystem::resize_file(shard, std::filesystem::file_size(shard) - 1);
  const Outcome damaged = mudelta("checkpoint verify " + path("whole"));
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_EQ(count(damaged.output, "every checksum fits"), 3);
  EXPECT_THAT(damaged.output, HasSubstr(shard));
  EXPECT_THAT(mudelta("checkpoint ls " + path("whole")).output, HasSubstr("damaged: "));
  // None is removed while the newest is not sound.
  std::filesystem::remove(checkpoint("whole", "step-00000012") + "/manifest.textproto");
  EXPECT_EQ(mudelta("checkpoint prune --keep 1 " + path("whole")).exit_code, 2);
  EXPECT_EQ(checkpoints("whole").size(), 4u);
}

TEST_F(CheckpointCommand, ResumesFromAnEarlierStep) {
  ASSERT_EQ(train(2, "straight", kSettings).exit_code, 0);
  ASSERT_EQ(train(2, "back", kSettings).exit_code, 0);
  EXPECT_EQ(train(2, "back", std::string(kSettings) + "--resume --from 6").exit_code, 2);
  EXPECT_EQ(train(2, "back", std::string(kSettings) + "--from 8").exit_code, 2);
  const Outcome resumed = train(2, "back", std::string(kSettings) + "--resume --from 8");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, AllOf(HasSubstr("goes on from step 8"), HasSubstr("set-aside-step-00000012")));
  EXPECT_THAT(checkpoints("back"), ElementsAre("set-aside-step-00000010", "set-aside-step-00000012", "step-00000004",
                                               "step-00000008", "step-00000010", "step-00000012"));
  EXPECT_EQ(losses("back"), losses("straight"));
  for (const int rank : {0, 1}) {
    EXPECT_EQ(shard_bytes("back", "step-00000012", rank, 2), shard_bytes("straight", "step-00000012", rank, 2));
  }
}

class Saving : public CheckpointCommand {
 protected:
  // 20 steps; files of more than 48 KiB cannot be written.
  static Outcome train_without_room(const std::string& run, const std::string& more) {
    return shell("trap '' XFSZ; ulimit -f 48; " + mpirun_command(1, train_arguments(run, more)));
  }
};

TEST_F(Saving, BesideTrainingGivesTheSameFilesAsWaiting) {
  const std::string settings =
      "--set train.steps=12 --set checkpoint.every_steps=1 --set checkpoint.keep=0 --set train.eval_every=5 ";
  for (const int ranks : {1, 2}) {
    const std::string beside = "beside" + std::to_string(ranks), waited = "waited" + std::to_string(ranks);
    ASSERT_EQ(train(ranks, beside, settings + "--set checkpoint.asynchronous=true").exit_code, 0);
    ASSERT_EQ(train(ranks, waited, settings + "--set checkpoint.asynchronous=false").exit_code, 0);
    ASSERT_EQ(checkpoints(beside).size(), 12u);
    EXPECT_EQ(checkpoints(beside), checkpoints(waited));
    for (const std::string& name : checkpoints(beside)) {
      for (int rank = 0; rank < ranks; ++rank) {
        EXPECT_EQ(shard_bytes(beside, name, rank, ranks), shard_bytes(waited, name, rank, ranks)) << name;
      }
    }
    EXPECT_EQ(losses(beside), losses(waited));
  }
}

TEST_F(Saving, AFailureIsTriedAgainAfterTwiceAsManySteps) {
  for (const std::string how : {"true", "false"}) {
    const std::string run = "goes-on-" + how;
    const Outcome outcome =
        train_without_room(run, "--set checkpoint.every_steps=10 --set checkpoint.asynchronous=" + how);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;  // for the last
    EXPECT_EQ(count(outcome.output, "mudelta: error:"), 1) << outcome.output;
    EXPECT_EQ(losses(run).size(), 20u);
    EXPECT_TRUE(checkpoints(run).empty());
    EXPECT_THAT(outcome.output, HasSubstr("step 10: no checkpoint: "));
    if (how == "true") continue;  // whose failure is noticed later
    for (const int step : {11, 13, 17}) {
      EXPECT_THAT(outcome.output, HasSubstr(fmt::format("step {}: no checkpoint: ", step)));
    }
    EXPECT_EQ(count(outcome.output, ": no checkpoint: "), 4) << outcome.output;
  }
}

TEST_F(Saving, AFailureEndsTheRunIfItIsToStop) {
  for (const std::string how : {"true", "false"}) {
    const std::string run = "stops-" + how;
    const Outcome outcome = train_without_room(run,
                                               "--set checkpoint.every_steps=3 --set checkpoint.on_save_failure=STOP "
                                               "--set checkpoint.asynchronous=" +
                                                   how);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error:"), 1) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("File too large"));
    EXPECT_LE(losses(run).size(), how == "true" ? 6u : 3u);
  }
}

}  // namespace
}  // namespace mudelta::testing
