// Whole sweeps through the program, alone and under mpirun.

#include <gmock/gmock.h>

#include <string>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

// The learning rates are gentle: a steep descent magnifies rounding many times a step.
class Sweep : public TrainingFixture {
 protected:
  static constexpr int kRuns = 2 * 2 * 3;

  static void SetUpTestSuite() {
    TrainingFixture::SetUpTestSuite();
    write_file(path("sweep.textproto"), R"(
        run_config: "run.textproto"
        run { data { path: ")" + path("data") +
                                            R"(" } train { steps: 8 eval_sequences: 8 max_skipped_steps: 2 } }
        widths: [32, 48]
        parametrizations: [SP, GDN_MUP]
        learning_rates { values: [5e-4, 1e-3, 1e30] })");
  }

  static std::string arguments(const std::string& out, const std::string& more = "") {
    return "sweep " + path("sweep.textproto") + " --out " + path(out) + " " + more;
  }
  // By the run's name, the whole line (with its duration). Fails if a run stands there twice.
  static std::map<std::string, nlohmann::json> results(const std::string& out) {
    std::map<std::string, nlohmann::json> found;
    for (const std::string& name : names_in(path(out))) {
      if (!name.ends_with(".jsonl")) continue;
      std::ifstream file(path(out) + "/" + name);
      for (std::string line; std::getline(file, line);) {
        const auto record = nlohmann::json::parse(line, nullptr, false);
        if (record.is_discarded()) continue;
        const std::string run =
            record["parametrization"].get<std::string>() + " " + record["width"].dump() + " " + record["lr"].dump();
        EXPECT_TRUE(found.emplace(run, record).second) << "run twice: " << line;
      }
    }
    return found;
  }
  static void expect_same_losses(const std::string& actual, const std::string& expected) {
    const auto a = results(actual), b = results(expected);
    ASSERT_EQ(a.size(), static_cast<std::size_t>(kRuns));
    ASSERT_EQ(b.size(), a.size());
    for (const auto& [run, record] : a) {
      ASSERT_EQ(record["diverged"], b.at(run)["diverged"]) << run;
      if (record["diverged"].get<bool>()) continue;
      EXPECT_NEAR(record["loss"].get<double>(), b.at(run)["loss"].get<double>(), 1e-5) << run;
    }
  }
};

TEST_F(Sweep, DamagedDataIsFoundFirst) {
  std::filesystem::copy(path("data"), path("damaged"));
  const std::string shard = path("damaged/train_000000.bin");
  std::string bytes = read_file(shard);
  bytes[1024] ^= 1;
  write_file(shard, bytes);
  const Outcome outcome = mudelta(arguments("of_damaged", "--set run.data.path=" + path("damaged")));
  EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("shard " + shard + " is damaged"));
  EXPECT_TRUE(results("of_damaged").empty());
}

TEST_F(Sweep, TrainsReportsAndRunsNothingTwice) {
  const Outcome outcome = mudelta(arguments("alone"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("12/12 runs"), HasSubstr("lr 1e+30 seed 1: diverged"),
                                    HasSubstr("GDN_MUP ADAMW   (grid step"), HasSubstr("regret")));
  const auto found = results("alone");
  ASSERT_EQ(found.size(), static_cast<std::size_t>(kRuns));
  for (const auto& [run, record] : found) {
    EXPECT_EQ(record["diverged"], record["lr"] == 1e30) << run;
    EXPECT_EQ(record["loss"].is_null(), record["diverged"].get<bool>()) << run;
  }
  // At the base width every parametrization is the same model, bit for bit.
  EXPECT_EQ(found.at("SP 32 0.001")["loss"], found.at("GDN_MUP 32 0.001")["loss"]);
  EXPECT_NE(found.at("SP 48 0.001")["loss"], found.at("GDN_MUP 48 0.001")["loss"]);
  EXPECT_THAT(names_in(path("alone")),
              AllOf(Contains("report.txt"), Contains("report.json"), Contains("transfer-adamw.dat")));

  const Outcome again = mudelta(arguments("alone"));
  EXPECT_EQ(again.exit_code, 0) << again.output;
  EXPECT_EQ(count(again.output, "seed 1:"), 0) << again.output;
  EXPECT_EQ(results("alone"), found);
  const Outcome longer = mudelta(arguments("alone", "--set optimizers='{learning_rates{values: 2e-2}}'"));
  EXPECT_EQ(longer.exit_code, 0) << longer.output;
  EXPECT_EQ(count(longer.output, "seed 1:"), 4) << longer.output;
  EXPECT_EQ(results("alone").size(), static_cast<std::size_t>(kRuns + 4));

  const Outcome report = mudelta("sweep --report " + path("alone"));
  EXPECT_EQ(report.exit_code, 0);
  EXPECT_THAT(report.output, HasSubstr(read_file(path("alone") + "/report.txt")));
}

TEST_F(Sweep, NumberOfRanksChangesNothingButRounding) {
  ASSERT_EQ(mudelta(arguments("one")).exit_code, 0);
  const Outcome two = mpirun(2, arguments("two"));
  ASSERT_EQ(two.exit_code, 0) << two.output;
  EXPECT_EQ(count(two.output, "12/12 runs"), 1) << two.output;
  expect_same_losses("two", "one");
  const Outcome together = mpirun(2, arguments("together", "--set ranks_per_run=2"));
  ASSERT_EQ(together.exit_code, 0) << together.output;
  expect_same_losses("together", "one");
  const std::string tensor = "--set run.parallel.tensor=2 --set ranks_per_run=";
  const Outcome parts = mpirun(4, arguments("parts", tensor + "2"));
  ASSERT_EQ(parts.exit_code, 0) << parts.output;
  expect_same_losses("parts", "one");
  const Outcome context = mpirun(2, arguments("context", "--set run.parallel.context=2 --set ranks_per_run=2"));
  ASSERT_EQ(context.exit_code, 0) << context.output;
  expect_same_losses("context", "one");
  const Outcome uneven = mpirun(3, arguments("uneven", tensor + "3"));
  EXPECT_EQ(uneven.exit_code, 2);
  EXPECT_EQ(count(uneven.output, "3 ranks: expected a multiple of parallel.tensor 2"), 1) << uneven.output;
  const Outcome heads = mpirun(2, arguments("heads", tensor + "2 --set axis=HEADS"));
  EXPECT_EQ(heads.exit_code, 2);
  EXPECT_EQ(count(heads.output, "model.value_heads is 3: expected a multiple of parallel.tensor, 2"), 1)
      << heads.output;
  const Outcome odd = mpirun(3, arguments("odd", "--set ranks_per_run=2"));
  EXPECT_EQ(odd.exit_code, 2);
  EXPECT_EQ(count(odd.output, "mudelta: error: 3 ranks: expected a multiple of ranks_per_run, 2"), 1) << odd.output;
}

TEST_F(Sweep, KilledAndResumedRunsNothingTwice) {
  const std::string folder = path("killed"), slow = "--set run.train.steps=40";
  const Outcome killed =
      shell(mpirun_command(2, arguments("killed", slow)) + " >" + path("killed.log") + " 2>&1 & started=$!\n" +
            wait_until("[ \"$(cat " + folder + "/*.jsonl 2>/dev/null | wc -l)\" -ge 3 ]") +
            "kill -9 $(pgrep -n -f '^" MUDELTA_PROGRAM " sweep .*" + folder +
            "')\n"
            "wait $started\nexit 0");
  ASSERT_EQ(killed.exit_code, 0) << killed.output;
  const auto before = results("killed");
  ASSERT_GE(before.size(), 3u) << read_file(path("killed.log"));
  ASSERT_LT(before.size(), static_cast<std::size_t>(kRuns)) << "it ended before it was killed: nothing was tested";
  std::ofstream(folder + "/sweep.rank-0000.jsonl", std::ios::app) << R"({"parametrization":"SP","wid)";
  const Outcome resumed = mudelta(arguments("killed", slow));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_EQ(count(resumed.output, "seed 1:"), kRuns - static_cast<int>(before.size())) << resumed.output;
  const auto after = results("killed");
  EXPECT_EQ(after.size(), static_cast<std::size_t>(kRuns));
  for (const auto& [run, record] : before) EXPECT_EQ(after.at(run), record) << run;
}

TEST_F(Sweep, StoppedBySignalGoesOnToTheSameBits) {
  const std::string folder = path("stopped"), slow = "--set run.train.steps=60";
  ASSERT_EQ(mudelta(arguments("unstopped", slow)).exit_code, 0);
  const Outcome stopped =
      shell(mpirun_command(2, arguments("stopped", slow)) + " >" + path("stopped.log") + " 2>&1 & started=$!\n" +
            wait_until("[ \"$(cat " + folder + "/*.jsonl 2>/dev/null | wc -l)\" -ge 2 ]") +
            "kill -USR1 $started\nwait $started");
  EXPECT_EQ(stopped.exit_code, 143) << read_file(path("stopped.log"));
  EXPECT_THAT(read_file(path("stopped.log")), HasSubstr("stopped by a signal: "));
  const auto before = results("stopped");
  ASSERT_LT(before.size(), static_cast<std::size_t>(kRuns)) << "it ended before it was stopped: nothing was tested";
  EXPECT_FALSE(names_in(folder + "/runs").empty());
  EXPECT_FALSE(std::filesystem::exists(folder + "/sweep.stop"));
  const Outcome resumed = mudelta(arguments("stopped", slow));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  const auto expected = results("unstopped"), after = results("stopped");
  ASSERT_EQ(after.size(), static_cast<std::size_t>(kRuns));
  for (const auto& [run, record] : expected) EXPECT_EQ(after.at(run)["loss"], record["loss"]) << run;
  EXPECT_FALSE(std::filesystem::exists(folder + "/runs"));
}

TEST_F(Sweep, AnErrorOfARunIsToldOnceAndLosesNoOther) {
  const std::string blocked = path("failing") + "/runs/GDN_MUP-ADAMW-width48-lr0.001-seed1/checkpoints/step-00000001";
  std::filesystem::create_directories(blocked);  // a checkpoint without a manifest
  write_file(path("failing") + "/sweep.jsonl", "");
  ASSERT_EQ(mudelta(arguments("alike")).exit_code, 0);
  std::filesystem::copy_file(path("alike") + "/sweep.textproto", path("failing") + "/sweep.textproto");
  const Outcome failed = mpirun(2, arguments("failing"));
  EXPECT_EQ(failed.exit_code, 2) << failed.output;
  EXPECT_EQ(count(failed.output, "mudelta: error:"), 1) << failed.output;
  EXPECT_EQ(count(failed.output, "mudelta: error: GDN_MUP ADAMW width 48 lr 0.001 seed 1: "), 1) << failed.output;
  EXPECT_EQ(count(failed.output, "MPI_ABORT"), 0) << failed.output;
  std::filesystem::remove_all(blocked);
  const Outcome repaired = mpirun(2, arguments("failing"));
  EXPECT_EQ(repaired.exit_code, 0) << repaired.output;
  expect_same_losses("failing", "alike");
}

TEST_F(Sweep, BadInputEndsWithTwo) {
  const auto error_of = [](const std::string& arguments) {
    const Outcome outcome = mudelta(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error:"), 1) << outcome.output;
    return outcome.output;
  };
  EXPECT_THAT(error_of("sweep"), HasSubstr("expected SWEEP and --out DIR, or --report DIR"));
  EXPECT_THAT(error_of("sweep --report " + path("absent")), HasSubstr("absent is no folder"));
  EXPECT_THAT(error_of("sweep --report " + path("data")), HasSubstr("holds no sweep"));
  EXPECT_THAT(error_of("sweep " + path("absent.textproto") + " --out " + path("x")), HasSubstr("absent.textproto"));
  EXPECT_THAT(error_of(arguments("x", "--set widths=0")), HasSubstr("widths has 0"));
  EXPECT_THAT(error_of(arguments("x", "--set wdiths=64")), HasSubstr("did you mean `widths`?"));
  EXPECT_THAT(error_of(arguments("data")), HasSubstr("is not empty and holds no sweep"));
  EXPECT_THAT(error_of(arguments("run.textproto")), HasSubstr("run.textproto"));
  EXPECT_FALSE(std::filesystem::exists(path("x")));
}

}  // namespace
}  // namespace mudelta::testing
