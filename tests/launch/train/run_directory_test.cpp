#include "launch/train/run_directory.h"

#include <gmock/gmock.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::names_in;
using testing::TemporaryFolder;
using testing::write_file;

constexpr char kNoError[] = "no error was thrown";

std::string check_error(const RunDirectory& run, bool resume) {
  return error_of([&] { run.check(resume); });
}

TEST(RunDirectory, AbsentAndEmptyFoldersCanTakeARun) {
  const TemporaryFolder folder;
  for (const bool resume : {false, true}) {
    EXPECT_EQ(check_error(RunDirectory(folder.path()), resume), kNoError);
    EXPECT_EQ(check_error(RunDirectory(folder / "a/b"), resume), kNoError);
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));  // nothing is written yet
}

TEST(RunDirectory, CreateMakesTheLayout) {
  const TemporaryFolder folder;
  const RunDirectory run(folder / "a/b");
  EXPECT_FALSE(run.holds_run());
  run.create("train {}", 0);
  EXPECT_TRUE(run.holds_run());
  EXPECT_THAT(names_in(run.root()), ElementsAre("checkpoints", "config.textproto", "log"));
  EXPECT_EQ(testing::read_file(run.config()), "train {}");
}

TEST(RunDirectory, ARunIsTouchedOnlyByResume) {
  const TemporaryFolder folder;
  const RunDirectory run(folder.path());
  run.create("first", 0);
  EXPECT_THAT(check_error(run, false), HasSubstr(folder.path().string() + " holds a run already: give --resume"));
  EXPECT_EQ(check_error(run, true), kNoError);
  write_file(run.checkpoints() / "kept", "");
  run.create("second", 20);
  EXPECT_EQ(testing::read_file(run.config()), "second");
  EXPECT_THAT(names_in(run.checkpoints()), ElementsAre("kept"));
}

TEST(RunDirectory, EveryConfigurationIsKept) {
  const TemporaryFolder folder;
  const RunDirectory run(folder.path());
  run.create("a", 0);
  run.create("a", 20);  // nothing changed
  run.create("b", 30);
  run.create("c", 30);  // b ended before its first checkpoint
  run.create("d", 40);
  EXPECT_EQ(testing::read_file(run.config()), "d");
  EXPECT_EQ(testing::read_file(folder / "config-until-step-00000030.textproto"), "a");
  EXPECT_EQ(testing::read_file(folder / "config-until-step-00000030-2.textproto"), "b");
  EXPECT_EQ(testing::read_file(folder / "config-until-step-00000040.textproto"), "c");
  EXPECT_EQ(names_in(folder.path()).size(), 6u);
}

TEST(RunDirectory, ALockDoesNotCount) {
  const TemporaryFolder folder;
  write_file(folder / ".lock", "");
  for (const bool resume : {false, true}) EXPECT_EQ(check_error(RunDirectory(folder.path()), resume), kNoError);
}

TEST(RunDirectory, FoldersWithOtherFilesAreRefused) {
  const TemporaryFolder folder;
  write_file(folder / "thesis.tex", "");
  for (const bool resume : {false, true}) {
    EXPECT_THAT(check_error(RunDirectory(folder.path()), resume), HasSubstr("is not empty and holds no run"));
    EXPECT_THAT(check_error(RunDirectory(folder / "thesis.tex"), resume), HasSubstr("is not a folder"));
  }
}

TEST(RunDirectory, WhatACrashInCreateLeavesIsNoRun) {
  const TemporaryFolder folder;
  write_file(folder / "config.textproto.tmp-123-0", "tra");
  const RunDirectory run(folder.path());
  EXPECT_EQ(check_error(run, false), kNoError);
  write_file(folder / "metrics.jsonl.tmp-123-0", "");
  run.create("train {}", 0);
  EXPECT_THAT(names_in(run.root()), ElementsAre("checkpoints", "config.textproto", "log"));
}

TEST(RunDirectory, LinksLeadNowhere) {
  const TemporaryFolder folder, outside;
  const auto victim = write_file(outside / "victim", "kept");
  for (const char* name : {"config.textproto.tmp", "metrics.jsonl.tmp"}) {
    std::filesystem::create_symlink(victim, folder / name);
  }
  RunDirectory(folder.path()).create("train {}", 0);
  EXPECT_EQ(testing::read_file(victim), "kept");
}

TEST(RunDirectory, FailuresNameTheFolder) {
  const TemporaryFolder folder;
  write_file(folder / "file", "");
  EXPECT_THAT(error_of([&] { RunDirectory(folder / "file/run").create("", 0); }),
              HasSubstr((folder / "file/run").string()));
  EXPECT_THAT(error_of([] { RunDirectory(""); }), HasSubstr("expected a folder"));
}

}  // namespace
}  // namespace mudelta
