// Runs that learn from several sources, and from tokens of other programs, as a user makes them.

#include <gmock/gmock.h>

#include <string>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Blends : public TrainingFixture {
 protected:
  static void SetUpTestSuite() {
    TrainingFixture::SetUpTestSuite();
    std::string digits;
    for (int i = 0; i < 3000; ++i) digits += std::to_string(i * 7919 % 10007) + (i % 20 == 0 ? "\n\n" : " ");
    write_file(path("digits.txt"), digits);
    const Outcome prepared =
        mudelta("prepare --input " + path("digits.txt") + " --out " + path("digits") + " --validation-fraction 0.1");
    ASSERT_EQ(prepared.exit_code, 0) << prepared.output;
  }

  static std::string config(const std::string& name, const std::string& sources) {
    return write_file(path(name), read_file(path("run.textproto")) + "\ndata { " + sources + " }").string();
  }
  static std::string source(const std::string& name, double weight, const std::string& more = "") {
    return "sources { path: '" + path(name) + "' weight: " + std::to_string(weight) + " " + more + " } ";
  }
};

TEST_F(Blends, LearnFromAllSourcesAndGoOnWithOthers) {
  const std::string both = config("both.textproto", source("data", 3) + source("digits", 1));
  for (const int ranks : {1, 3}) {
    const std::string run = "both" + std::to_string(ranks);
    const Outcome outcome = mpirun(ranks, "train " + both + " --out " + path(run));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_THAT(outcome.output, AllOf(HasSubstr("data 75%, digits 25%"), HasSubstr("data verified: 4 shards")));
  }
  EXPECT_NEAR(losses("both1").at(1), losses("both3").at(1), 1e-5);  // the same rows
  EXPECT_NEAR(losses("both1").at(20), losses("both3").at(20), 1e-3);
  const auto last = records("both1")[19];
  EXPECT_NEAR(last["sources"]["data"]["share"], 0.75, 0.01);
  EXPECT_EQ(last["sources"]["data"]["rows"].get<int>() + last["sources"]["digits"]["rows"].get<int>(), 240);
  EXPECT_GT(last["sources"]["digits"]["epochs"], 0);
  for (const auto& record : records("both1")) {
    if (!record.contains("eval_loss")) continue;
    const auto& of = record["eval_sources"];
    EXPECT_NEAR(record["eval_loss"], 0.75 * of["data"].get<double>() + 0.25 * of["digits"].get<double>(), 1e-9);
  }

  ASSERT_EQ(
      mudelta("train " + both + " --set train.steps=8 --set schedule.kind=CONSTANT --out " + path("cut")).exit_code, 0);
  const Outcome resumed =
      mpirun(2, "train " + both + " --set train.steps=20 --set schedule.kind=CONSTANT --resume --out " + path("cut"));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_EQ(losses("cut").size(), 20u);

  const std::string other = config("other.textproto", source("digits", 1, "name: 'digits' ") + source("data", 1));
  const Outcome changed = mudelta("train " + other + " --set train.steps=30 --resume --out " + path("both1"));
  ASSERT_EQ(changed.exit_code, 0) << changed.output;
  std::int64_t rows = 0;
  for (const auto& record : records("both1")) {
    if (record["step"] == 30 && record.contains("loss")) rows = record["sources"]["digits"]["rows"];
  }
  EXPECT_NEAR(static_cast<double>(rows), 60 + 60, 3);
}

TEST_F(Blends, APathMayBecomeOneOfSeveralSources) {
  ASSERT_EQ(train(1, "path", "--set train.steps=5").exit_code, 0);
  const std::string both = config("later.textproto", source("digits", 1) + source("data", 1));
  const Outcome outcome = mudelta("train " + both + " --set train.steps=10 --resume --out " + path("path"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  for (const auto& record : records("path")) {
    if (record["step"] != 10 || !record.contains("loss")) continue;
    EXPECT_NEAR(record["sources"]["data"]["rows"], 60 + 30, 2);
  }
  const Outcome back = train(1, "path", "--resume");
  EXPECT_EQ(back.exit_code, 2);
  EXPECT_THAT(back.output, HasSubstr("the run learnt from data.sources"));
}

TEST_F(Blends, BadSourcesAreTold) {
  for (const auto& [sources, told] : {std::pair{source("data", 1) + source("data", 1), "two are called data"},
                                      {source("data", 0), "data.sources[0].weight is 0"},
                                      {source("nowhere", 1), "nowhere does not exist"},
                                      {source("data", 1, "epochs: 1"), "data.sources end after"},
                                      {source("data", 1) + " path: 'x'", "expected one of them"}}) {
    const Outcome outcome =
        mpirun(2, "train " + config("bad.textproto", sources) + " --set train.steps=1000 --out " + path("bad"));
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, told), 1) << told << outcome.output;
  }
}

TEST_F(Blends, AdoptedTokensAreLearntAsTheirs) {
  const std::string steps = "--set train.steps=3 --set schedule.warmup_steps=1";
  // The same shards under another name are what another program wrote.
  std::filesystem::copy_file(path("data") + "/train_000000.bin", path("theirs_train.bin"));
  std::filesystem::copy_file(path("data") + "/validation_000000.bin", path("theirs_val.bin"));
  const Outcome adopted = mudelta("data adopt --train " + path("theirs_train.bin") + " --validation " +
                                  path("theirs_val.bin") + " --tokenizer byte --out " + path("adopted"));
  ASSERT_EQ(adopted.exit_code, 0) << adopted.output;
  ASSERT_EQ(mudelta("data verify " + path("adopted")).exit_code, 0);
  ASSERT_EQ(train(1, "ours", steps).exit_code, 0);
  ASSERT_EQ(train(1, "theirs", steps + " --set data.path=" + path("adopted")).exit_code, 0);
  EXPECT_EQ(losses("ours"), losses("theirs"));

  std::filesystem::resize_file(path("theirs_train.bin"), 5000);
  for (const std::string& command :
       {"data verify " + path("adopted"), train_arguments("no", "--set data.path=" + path("adopted"))}) {
    const Outcome damaged = mudelta(command);
    EXPECT_EQ(damaged.exit_code, 2);
    EXPECT_THAT(damaged.output, HasSubstr("theirs_train.bin has 5000 bytes"));
  }
}

}  // namespace
}  // namespace mudelta::testing
