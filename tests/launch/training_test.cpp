// Whole training runs through the program, alone and under mpirun.

#include <gmock/gmock.h>

#include <cmath>
#include <string>
#include <utility>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Training : public TrainingFixture {};

TEST_F(Training, LearnsAndReports) {
  const Outcome outcome = train(1, "learns", "--set train.eval_every=10");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("step 10: validation loss"), HasSubstr("step 20: validation loss"),
                                    HasSubstr("bits per byte"), HasSubstr("step 20: checkpoint written")));
  EXPECT_EQ(count(outcome.output, "data verified: 2 shards, "), 1) << outcome.output;
  const auto found = losses("learns");
  ASSERT_EQ(found.size(), 20u);
  EXPECT_LT(found.at(20), 0.7 * found.at(1));
  EXPECT_THAT(names_in(path("learns")),
              ElementsAre("checkpoints", "config.textproto", ::testing::StartsWith("events.out.tfevents."), "log",
                          "metrics.jsonl"));
  EXPECT_THAT(checkpoints("learns"), ElementsAre("step-00000020"));
}

TEST_F(Training, IsPlotted) {
  ASSERT_EQ(train(1, "drawn", "--set train.eval_every=10").exit_code, 0);
  const std::string arguments = "plot " + path("drawn") + " " + path("drawn") + "/metrics.jsonl --out " + path("plot");
  const Outcome outcome = mudelta(arguments + " --x tokens");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("drawn: 20 records, loss "), HasSubstr("plot")));
  const std::string drawn = read_file(path("plot.dat"));
  for (const auto& [step, loss] : losses("drawn")) {
    EXPECT_EQ(count(drawn, "\n" + std::to_string(step * 12 * 48) + " " + nlohmann::json(loss).dump().substr(0, 6)), 2);
  }
  EXPECT_EQ(mudelta(arguments).exit_code, 2);  // there already
  ASSERT_EQ(mudelta(arguments + " --force --y eval_loss --x time").exit_code, 0);
  EXPECT_THAT(read_file(path("plot.dat")), HasSubstr("hours, eval_loss"));
  const Outcome nothing = mudelta(arguments + " --force --y speed");
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_THAT(nothing.output, HasSubstr("has no record with `speed`"));
}

TEST_F(Training, MetricsTellWhereTimeGoesAndHowLargeThingsAre) {
  for (const int ranks : {1, 2}) {
    const std::string run = "metrics" + std::to_string(ranks);
    const Outcome outcome = train(ranks, run,
                                  "--set train.norms_every=8 --set train.log_every=5 "
                                  "--set train.grad_clip=0.5 --set checkpoint.every_steps=10");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    std::vector<std::int64_t> steps;
    double last_time = 0;
    for (const auto& record : records(run)) {
      const std::int64_t step = record["step"];
      if (!record.contains("loss")) continue;
      steps.push_back(step);
      EXPECT_GT(record["time"].get<double>(), std::exchange(last_time, record["time"]));
      const auto& seconds = record["seconds"];
      EXPECT_GT(seconds["forward_backward"], 0);
      EXPECT_GT(seconds["data"], 0);
      EXPECT_GT(seconds["update"], 0);
      EXPECT_GT(seconds["communication"], 0);
      EXPECT_EQ(record["bytes_sent"].size(), ranks == 1 ? 0u : 1u);
      if (ranks == 2) {
        EXPECT_GT(record["bytes_sent"]["data"], 0);
      }
      EXPECT_EQ(record["clipped"], record["grad_norm"].get<double>() > 0.5);
      EXPECT_GT(record["peak_flops"], 0);
      ASSERT_EQ(record.contains("norms"), step % 8 == 0) << step;
      if (step % 8 != 0) continue;
      double squares = 0;
      for (const auto& [role, norms] : record["norms"].items()) {
        squares += std::pow(norms["gradient"].get<double>(), 2);
        EXPECT_GT(norms["weight"], 0) << role;
      }
      EXPECT_EQ(record["norms"].size(), 6u);  // every role but an untied readout
      EXPECT_NEAR(std::sqrt(squares), record["grad_norm"], 1e-6 * record["grad_norm"].get<double>());
    }
    EXPECT_THAT(steps, ElementsAre(5, 8, 10, 15, 16, 20));
    EXPECT_EQ(count(read_file(path(run) + "/metrics.jsonl"), "\"checkpoint_seconds\""), 2);
    EXPECT_EQ(count(read_file(path(run) + "/metrics.jsonl"), "\"eval_seconds\""), 1);
  }
}

TEST_F(Training, NumberOfRanksAndMicrobatchesChangeNothingButRounding) {
  // A gentle learning rate: a steep descent magnifies rounding many times a step.
  const std::string gentle = "--set optimizer.adamw.lr=1e-3 ";
  ASSERT_EQ(train(1, "ranks1", gentle).exit_code, 0);
  const auto expected = losses("ranks1");
  ASSERT_EQ(expected.size(), 20u);
  for (const int ranks : {2, 3, 4}) {
    const std::string run = "ranks" + std::to_string(ranks);
    const Outcome outcome = train(ranks, run, gentle + (ranks == 3 ? "--set train.micro_batch=2" : ""));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    const auto found = losses(run);
    ASSERT_EQ(found.size(), 20u) << ranks << " ranks";
    for (const auto& [step, loss] : expected) EXPECT_NEAR(found.at(step), loss, 1e-5) << ranks << " ranks, " << step;
    EXPECT_NEAR(final_validation_loss(run), final_validation_loss("ranks1"), 1e-5);
  }
}

TEST_F(Training, LayoutsChangeNothingButRounding) {
  const std::string gentle = "--set optimizer.adamw.lr=1e-3 --set train.eval_every=10 ";
  ASSERT_EQ(train(1, "one-rank", gentle).exit_code, 0);
  struct Layout {
    int ranks;
    std::string settings;
  };
  const std::vector<Layout> layouts = {{2, "--set parallel.tensor=2"},
                                       {4, "--set parallel.tensor=2 --set train.micro_batch=3"},
                                       {2, "--set parallel.tensor=2 --set parallel.sequence_parallel=false"},
                                       {4, "--set parallel.tensor=4 --set model.value_heads=4"},
                                       {2, "--set parallel.context=2 --set model.recompute=SELECTIVE"},
                                       {3, "--set parallel.context=3 --set train.micro_batch=4"},
                                       {4, "--set parallel.context=2 --set parallel.tensor=2"},
                                       {4, "--set parallel.context=2"},
                                       {6, "--set parallel.context=6 --set train.micro_batch=6"},
                                       {2, "--set parallel.zero_stage=0 --set train.micro_batch=3"},
                                       {3, "--set parallel.zero_stage=2 --set train.micro_batch=2"},
                                       {3, "--set parallel.zero_stage=3 --set train.micro_batch=2"},
                                       {4, "--set parallel.context=2 --set parallel.zero_stage=3"}};
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    SCOPED_TRACE(layouts[i].settings);
    std::string reference = "one-rank";
    if (layouts[i].settings.find("value_heads") != std::string::npos) {  // more ranks than key heads
      reference = "values1";
      ASSERT_EQ(train(1, reference, gentle + "--set model.value_heads=4").exit_code, 0);
    }
    const std::string run = "layout" + std::to_string(i);
    const Outcome outcome = train(layouts[i].ranks, run, gentle + layouts[i].settings);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(count(outcome.output, "\na rank     has "), 1) << outcome.output;
    for (const auto& record : records(run)) {
      if (!record.contains("loss")) continue;
      for (const std::string group : {"tensor", "context"}) {
        EXPECT_EQ(record["bytes_sent"].value(group, 0.0) > 0,
                  layouts[i].settings.find("parallel." + group) != std::string::npos)
            << group;
      }
    }
    const auto found = losses(run);
    ASSERT_EQ(found.size(), 20u);
    for (const auto& [step, loss] : losses(reference)) EXPECT_NEAR(found.at(step), loss, 1e-5) << step;
    EXPECT_NEAR(final_validation_loss(run), final_validation_loss(reference), 1e-5);
  }
}

// Matrices are made orthogonal as wholes, whatever a rank has of them; and their state goes from layout to layout.
TEST_F(Training, MuonIsThatOfOneProcessInEveryLayout) {
  const std::string muon =
      "--set optimizer.muon.lr=1e-3 --set optimizer.muon.adamw.lr=1e-3 --set optimizer.muon.orthogonalize_dtype=FLOAT32 "
      "--set model.value_heads=4 --set schedule.kind=CONSTANT ";
  ASSERT_EQ(train(1, "muon1", muon).exit_code, 0);
  const std::vector<std::pair<int, std::string>> layouts = {{1, ""},
                                                            {4, "--set parallel.tensor=4"},  // two copies of q and k
                                                            {4, "--set parallel.context=2 --set parallel.tensor=2"},
                                                            {3, "--set parallel.zero_stage=3"}};
  for (std::size_t from = 0; from < layouts.size(); ++from) {
    const std::string run = "muon-relaid" + std::to_string(from);
    const auto& [ranks, settings] = layouts[from];
    const auto& [later_ranks, later_settings] = layouts[(from + 1) % layouts.size()];
    SCOPED_TRACE(settings + " then " + later_settings);
    ASSERT_EQ(train(ranks, run, muon + settings + " --set train.steps=10").exit_code, 0);
    const Outcome resumed = train(later_ranks, run, muon + later_settings + " --resume");
    ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
    const auto found = losses(run);
    ASSERT_EQ(found.size(), 20u);
    for (const auto& [step, loss] : losses("muon1")) EXPECT_NEAR(found.at(step), loss, 1e-4) << step;
  }
}

TEST_F(Training, CheckedCollectivesChangeNoBit) {
  const std::string layout = "--set parallel.tensor=2 --set parallel.zero_stage=3 --set train.steps=6 ";
  ASSERT_EQ(train(4, "unchecked", layout).exit_code, 0);
  const Outcome outcome = train(4, "checked", layout + "--set parallel.check_collectives=true");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(losses("checked"), losses("unchecked"));
  std::string log;
  for (const std::string& name : names_in(path("checked") + "/log")) log += read_file(path("checked") + "/log/" + name);
  EXPECT_THAT(log, HasSubstr("of the tensor group: reduce_scatter("));
  EXPECT_THAT(log, HasSubstr("forward and backward > mixer backward"));
}

TEST_F(Training, SgdOverRanks) {
  const std::string sgd = "--set 'optimizer.sgd={lr: 0.05 momentum: 0.9}'";
  ASSERT_EQ(train(1, "sgd1", sgd).exit_code, 0);
  ASSERT_EQ(train(2, "sgd2", sgd).exit_code, 0);
  const auto alone = losses("sgd1"), together = losses("sgd2");
  for (const auto& [step, loss] : alone) EXPECT_NEAR(together.at(step), loss, 1e-5) << step;
  EXPECT_LT(alone.at(20), alone.at(1));
}

TEST_F(Training, RecomputationChangesNoBit) {
  ASSERT_EQ(train(1, "keep").exit_code, 0);
  ASSERT_EQ(train(1, "recompute", "--set model.recompute=FULL").exit_code, 0);
  EXPECT_EQ(losses("keep"), losses("recompute"));
}

TEST_F(Training, BFloat16StaysCloseToFloat32) {
  ASSERT_EQ(train(1, "float32").exit_code, 0);
  const Outcome outcome = train(2, "bfloat16", "--set train.compute_dtype=BFLOAT16");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const auto wide = losses("float32"), narrow = losses("bfloat16");
  for (const auto& [step, loss] : wide) EXPECT_NEAR(narrow.at(step), loss, 0.05) << step;
}

// `kill -9` after some steps, then --resume: everything that a run leaves is that of a run in one go, bit for bit.
class Resume : public TrainingFixture {
 protected:
  static constexpr const char* kSteps = "--set train.steps=60 --set checkpoint.every_steps=7 ";

  // Starts a run and kills it (all its ranks, or one of them) once it has logged step 20.
  static void start_and_kill(int ranks, const std::string& run, const std::string& victim,
                             const std::string& more = "") {
    const std::string metrics = path(run) + "/metrics.jsonl";
    const Outcome outcome = shell(
        mpirun_command(ranks, train_arguments(run, kSteps + more)) + " >" + path("killed.log") +
        " 2>&1 & started=$!\n" + wait_until("grep -qs '\"step\":20,' " + metrics) + victim + "\nwait $started\nexit 0");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_FALSE(checkpoints(run).empty()) << read_file(path("killed.log"));
    EXPECT_EQ(losses(run).count(60), 0u) << "the run ended before it was killed: nothing was tested";
  }

  static std::string kill_one_rank(const std::string& run) {
    return "kill -9 $(pgrep -n -f '^" MUDELTA_PROGRAM " train .*" + path(run) + "')";
  }

  static void expect_same(const std::string& actual, const std::string& expected, int ranks) {
    EXPECT_EQ(losses(actual), losses(expected));
    EXPECT_EQ(final_validation_loss(actual), final_validation_loss(expected));
    for (int rank = 0; rank < ranks; ++rank) {
      EXPECT_EQ(shard_bytes(actual, "step-00000060", rank, ranks), shard_bytes(expected, "step-00000060", rank, ranks));
    }
  }
};

TEST_F(Resume, AfterKillIsExactOnOneRank) {
  ASSERT_EQ(train(1, "whole", kSteps).exit_code, 0);
  start_and_kill(1, "killed", "kill -9 $started");
  const Outcome resumed = train(1, "killed", std::string(kSteps) + "--resume");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("goes on from step "));
  expect_same("killed", "whole", 1);
}

TEST_F(Resume, AfterKillOfOneRankIsExactOnTwo) {
  ASSERT_EQ(train(2, "whole2", kSteps).exit_code, 0);
  start_and_kill(2, "killed2", kill_one_rank("killed2"));
  const Outcome resumed = train(2, "killed2", std::string(kSteps) + "--resume");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  expect_same("killed2", "whole2", 2);
}

TEST_F(Resume, AfterSigtermIsExactAndLosesNoStep) {
  ASSERT_EQ(train(1, "whole3", kSteps).exit_code, 0);
  start_and_kill(1, "stopped", "kill -TERM $started");
  EXPECT_THAT(read_file(path("killed.log")), HasSubstr("stopped by a signal after step"));
  const auto before = losses("stopped");
  const Outcome resumed = train(1, "stopped", std::string(kSteps) + "--resume");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("goes on from step " + std::to_string(before.rbegin()->first)));
  expect_same("stopped", "whole3", 1);
}

TEST_F(Resume, OnAnotherNumberOfRanksChangesNothingButRounding) {
  const std::string gentle = "--set optimizer.adamw.lr=1e-3 ";
  ASSERT_EQ(train(1, "whole4", kSteps + gentle).exit_code, 0);
  start_and_kill(2, "moved", kill_one_rank("moved"), gentle);
  const Outcome resumed = train(3, "moved", kSteps + gentle + "--resume");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  const auto expected = losses("whole4"), found = losses("moved");
  ASSERT_EQ(found.size(), 60u);
  // Rounding differs from the resumed step on, and every step magnifies it.
  for (const auto& [step, loss] : expected) EXPECT_NEAR(found.at(step), loss, step <= 30 ? 2e-4 : 2e-2) << step;
}

// A checkpoint of one layout goes on in another.
TEST_F(Resume, InAnotherLayoutChangesNothingButRounding) {
  const std::string gentle = "--set optimizer.adamw.lr=1e-3 --set checkpoint.every_steps=10 ";
  const std::vector<std::pair<int, std::string>> layouts = {{1, ""},
                                                            {2, "--set parallel.tensor=2 "},
                                                            {4, "--set parallel.tensor=2 "},
                                                            {2, "--set parallel.context=2 "},
                                                            {3, "--set parallel.zero_stage=3 "},
                                                            {2, "--set parallel.zero_stage=0 "},
                                                            {1, ""},
                                                            {4, "--set parallel.context=4 "},
                                                            {4, "--set parallel.context=2 --set parallel.tensor=2 "}};
  for (std::size_t from = 0; from < layouts.size(); ++from) {
    const auto& [ranks, settings] = layouts[from];
    const auto& [later_ranks, later_settings] = layouts[(from + 1) % layouts.size()];
    const std::string run = "relaid" + std::to_string(from);
    ASSERT_EQ(train(ranks, run, gentle + settings + "--set train.steps=10 --set schedule.kind=CONSTANT").exit_code, 0);
    const Outcome resumed = train(later_ranks, run, gentle + later_settings + "--set schedule.kind=CONSTANT --resume");
    ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
    ASSERT_EQ(losses(run).size(), 20u);
    if (from > 0) {
      for (const auto& [step, loss] : losses("relaid0")) EXPECT_NEAR(losses(run).at(step), loss, 2e-4) << step;
    }
  }
}

// Two ranks' sums do not depend on how they are made, and without clipping the norm changes nothing: the same bits.
TEST_F(Resume, AtAnotherZeroStageIsExact) {
  const std::string options =
      "--set train.grad_clip=0 --set schedule.kind=CONSTANT --set optimizer.adamw.lr=1e-3 "
      "--set checkpoint.asynchronous=true --set parallel.bucket_mib=0.01 ";
  ASSERT_EQ(train(2, "stage1", options).exit_code, 0);
  int steps = 0;
  for (const char* stage : {"3", "1", "0", "2", "3"}) {
    steps += 4;
    const Outcome outcome = train(
        2, "stages",
        options + "--set parallel.zero_stage=" + stage + " --set train.steps=" + std::to_string(steps) + " --resume");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  }
  EXPECT_EQ(losses("stages"), losses("stage1"));
  EXPECT_EQ(final_validation_loss("stages"), final_validation_loss("stage1"));
}

TEST_F(Resume, IntoAnEmptyOrAbsentFolderStartsFromScratch) {
  std::filesystem::create_directory(path("empty"));
  for (const std::string run : {"empty", "absent"}) {
    const Outcome outcome = train(1, run, "--resume --set train.steps=4");
    EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_EQ(losses(run).size(), 4u);
  }
}

TEST_F(Resume, TellsWhatChangedAndKeepsEveryConfiguration) {
  ASSERT_EQ(train(1, "changed").exit_code, 0);
  const Outcome outcome = train(2, "changed",
                                "--resume --set train.steps=24 --set optimizer.adamw.beta2=0.9 "
                                "--set train.compute_dtype=BFLOAT16");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("changed: train.steps: 20 -> 24"),
                                    HasSubstr("changed: optimizer.adamw.beta2: 0.95 -> 0.9"),
                                    HasSubstr("changed: train.compute_dtype: FLOAT32 -> BFLOAT16"),
                                    HasSubstr("learning rate 0.001 in step 20, 0.00149 in step 21; it rises")));
  EXPECT_EQ(count(read_file(path("changed") + "/config.textproto"), "steps: 24"), 1);
  EXPECT_EQ(count(read_file(path("changed") + "/config-until-step-00000020.textproto"), "steps: 20"), 1);
}

TEST_F(Resume, WithAnotherDataSetIsRefused) {
  ASSERT_EQ(train(1, "data1").exit_code, 0);
  const std::string other = path("other data");
  ASSERT_EQ(
      mudelta("prepare --input " + path("corpus.txt") + " --out '" + other + "' --validation-fraction 0.2").exit_code,
      0);
  for (const int ranks : {1, 2}) {
    const Outcome outcome = train(ranks, "data1", "--resume --set train.steps=30 --set 'data.path=" + other + "'");
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error:"), 1) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("shard 0 of the train split of the data set is "));
  }
}

TEST_F(Resume, OfAFinishedRunHasNothingToDo) {
  ASSERT_EQ(train(1, "finished").exit_code, 0);
  const auto before = losses("finished");
  EXPECT_EQ(train(1, "finished", "--resume").exit_code, 0);
  EXPECT_EQ(losses("finished"), before);
}

class BadInput : public TrainingFixture {
 protected:
  // The run must fail with exit code 2 on any number of ranks, say `message` once, and write nothing.
  static void expect_error(const std::string& arguments, const std::string& message) {
    for (const int ranks : {1, 2}) {
      const Outcome outcome = train(ranks, "bad", arguments);
      EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
      EXPECT_EQ(count(outcome.output, "mudelta: error:"), 1) << outcome.output;
      EXPECT_THAT(outcome.output, HasSubstr(message));
      EXPECT_FALSE(std::filesystem::exists(path("bad"))) << outcome.output;
    }
  }

  static std::string copy_of_data(const std::string& name) {
    std::filesystem::copy(path("data"), path(name), std::filesystem::copy_options::recursive);
    return path(name);
  }
  static std::string first_shard(const std::string& data) {
    for (const std::string& name : names_in(data)) {
      if (name.find("train") != std::string::npos) return data + "/" + name;
    }
    ADD_FAILURE() << "no training shard in " << data;
    return "";
  }
};

TEST_F(BadInput, Sizes) {
  expect_error("--set model.width=33 --set model.heads=4 --set model.head_dim=0", "model.head_dim is 0");
  expect_error("--set model.value_heads=3", "model.value_heads is 3, expected a multiple of model.heads (2)");
  expect_error("--set model.vocab_size=100", "model.vocab_size is 100");
  expect_error("--set parallel.tensor=3", "tensor");
}

TEST_F(BadInput, LayoutsThatTheModelDoesNotAdmit) {
  const auto expect = [](int ranks, const std::string& settings, const std::string& message) {
    const Outcome outcome = train(ranks, "bad", settings);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error"), 1) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(message));
  };
  expect(3, "--set parallel.tensor=3", "model.value_heads is 2: expected a multiple of parallel.tensor, 3");
  expect(2, "--set parallel.tensor=2 --set model.heads=3 --set model.value_heads=6",
         "model.heads is 3: expected a multiple or a divisor of parallel.tensor, 2");
  expect(2, "--set parallel.tensor=2 --set train.sequence_length=47",
         "train.sequence_length is 47: expected a multiple of parallel.tensor 2 x parallel.context 1: 46 or 48; or "
         "parallel.sequence_parallel false");
  expect(2, "--set parallel.tensor=2 --set model.mlp_size=1",
         "model.mlp_size is 1: expected at least parallel.tensor, 2");
  expect(3, "--set parallel.tensor=2", "3 ranks: expected a multiple of parallel.tensor 2 x parallel.context 1 = 2");
  expect(2, "--set parallel.context=2 --set train.sequence_length=47",
         "train.sequence_length is 47: expected a multiple of parallel.context, 2: 46 or 48");
}

TEST_F(BadInput, SizesThatNoMachineHas) {
  expect_error("--set model.mlp_size=18014398509481984", "model.mlp_size is 18014398509481984, expected at most");
  expect_error("--set model.layers=1000000000", "expected a smaller model (model.layers is 1000000000");
  expect_error("--set train.global_batch=480000000", "train.global_batch is 480000000");
  expect_error("--set train.global_batch=480000000 --set train.micro_batch=20000000",
               "expected fewer tokens at a time (train.micro_batch is 20000000");
}

TEST_F(BadInput, WidthThatHeadsDoNotDivide) {
  write_file(path("no_head_dim.textproto"),
             "model { width: 50 heads: 6 layers: 1 } data { path: '" + path("data") + "' }");
  const Outcome outcome = mudelta("train " + path("no_head_dim.textproto") + " --out " + path("bad"));
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.output, HasSubstr("model.width is 50"));
}

TEST_F(BadInput, Shards) {
  expect_error("--set data.path=" + path("nowhere"), path("nowhere"));
  const std::string missing = copy_of_data("missing");
  std::filesystem::remove(first_shard(missing));
  expect_error("--set data.path=" + missing, missing);
  const std::string truncated = copy_of_data("truncated");
  std::filesystem::resize_file(first_shard(truncated), 2000);
  expect_error("--set data.path=" + truncated, first_shard(truncated));
  const std::string empty = copy_of_data("empty_shard");
  std::filesystem::resize_file(first_shard(empty), 0);
  expect_error("--set data.path=" + empty, first_shard(empty));
  const std::string foreign = copy_of_data("foreign");
  write_file(first_shard(foreign), std::string(100000, 'x'));
  expect_error("--set data.path=" + foreign, first_shard(foreign));
}

// Whatever else it holds is a token as good as any other: only the checksum tells.
TEST_F(BadInput, DamagedShardEndsTheRun) {
  const std::string damaged = copy_of_data("flipped");
  std::string bytes = read_file(first_shard(damaged));
  std::size_t token = 1024;
  while (bytes[token + 1] != 0) token += 2;  // no separator
  bytes[token] ^= 1;
  write_file(first_shard(damaged), bytes);
  for (const int ranks : {1, 2}) {
    const Outcome outcome = train(ranks, "flipped_run" + std::to_string(ranks), "--set data.path=" + damaged);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error:"), 1) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("shard " + first_shard(damaged) + " is damaged"));
  }
  const Outcome unverified =
      train(1, "unverified", "--set train.steps=5 --set data.verify=false --set data.path=" + damaged);
  EXPECT_EQ(unverified.exit_code, 0) << unverified.output;
  EXPECT_EQ(count(unverified.output, "data verified"), 0) << unverified.output;
}

TEST_F(BadInput, TokenOutsideTheVocabulary) {
  const std::string damaged = copy_of_data("damaged");
  std::string bytes = read_file(first_shard(damaged));
  for (std::size_t i = 1024; i < bytes.size(); ++i) bytes[i] = '\x7f';
  write_file(first_shard(damaged), bytes);
  for (const int ranks : {1, 2}) {
    const Outcome outcome = train(ranks, "outside" + std::to_string(ranks), "--set data.path=" + damaged);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, AllOf(HasSubstr(first_shard(damaged)), HasSubstr("32639")));
    EXPECT_EQ(count(outcome.output, "mudelta: error:"), 1) << outcome.output;
    EXPECT_EQ(count(outcome.output, "MPI_ABORT"), 0) << outcome.output;
  }
}

TEST_F(BadInput, FolderThatHoldsARun) {
  ASSERT_EQ(train(1, "first").exit_code, 0);
  const auto before = losses("first");
  const Outcome again = train(1, "first");
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.output, AllOf(HasSubstr(path("first")), HasSubstr("--resume")));
  EXPECT_EQ(losses("first"), before);
}

TEST_F(BadInput, ResumeWithAnotherModelOrOtherMultipliers) {
  ASSERT_EQ(train(1, "shape").exit_code, 0);
  for (const int ranks : {1, 2}) {
    const Outcome shape = train(ranks, "shape", "--resume --set model.mlp_size=64 --set train.steps=30");
    EXPECT_EQ(shape.exit_code, 2);
    EXPECT_EQ(count(shape.output, "mudelta: error:"), 1) << shape.output;
    EXPECT_THAT(shape.output, HasSubstr("model.mlp_size is 48 in the checkpoint, 64 here"));
    EXPECT_EQ(count(shape.output, "recompute"), 0) << shape.output;  // may differ
    const Outcome multipliers =
        train(ranks, "shape", "--resume --set parametrization.base_width=16 --set train.steps=30");
    EXPECT_EQ(multipliers.exit_code, 2);
    EXPECT_THAT(multipliers.output, HasSubstr("multiplier"));
  }
}

TEST_F(BadInput, DiskFullWhileSavingKeepsTheOldCheckpoint) {
  ASSERT_EQ(train(1, "full", "--set train.steps=6 --set schedule.final_ratio=1 --set schedule.kind=CONSTANT").exit_code,
            0);
  const std::string more = "--resume --set train.steps=12 --set schedule.final_ratio=1 --set schedule.kind=CONSTANT";
  // One rank: under a limit of its own mpirun cannot start. Ranks of which one fails are in checkpoint_ranks_test.
  const Outcome failed = shell("trap '' XFSZ; ulimit -f 48; " + mpirun_command(1, train_arguments("full", more)));
  EXPECT_EQ(failed.exit_code, 2) << failed.output;
  EXPECT_THAT(failed.output, HasSubstr("File too large"));
  EXPECT_THAT(checkpoints("full"), ElementsAre("step-00000006"));
  const Outcome resumed = train(1, "full", more);
  EXPECT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_THAT(resumed.output, HasSubstr("goes on from step 6"));
}

TEST_F(BadInput, ACudaGraphNeedsAGpu) {
  for (const int ranks : {1, 2}) {
    const std::string run = "no-gpu" + std::to_string(ranks);
    const std::string options = "--set train.cuda_graph=true";
    const Outcome outcome =
        shell("export CUDA_VISIBLE_DEVICES=; " + mpirun_command(ranks, train_arguments(run, options)));
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error: train.cuda_graph is true: expected a GPU"), 1) << outcome.output;
  }
}

TEST_F(BadInput, DivergenceLeavesTheCheckpointsFromBeforeIt) {
  const Outcome outcome = train(1, "kept",
                                "--set optimizer.sgd.lr=1e30 --set train.grad_clip=0 --set train.max_skipped_steps=5 "
                                "--set checkpoint.every_steps=1 --set checkpoint.keep=2");
  EXPECT_THAT(outcome.output, HasSubstr("training diverged: 5 steps in a row"));
  EXPECT_THAT(checkpoints("kept"), ElementsAre("step-00000001"));
}

TEST_F(BadInput, DivergenceEndsTheRunOnEveryRank) {
  for (const int ranks : {1, 2}) {
    const Outcome outcome =
        train(ranks, "diverges" + std::to_string(ranks),
              "--set optimizer.sgd.lr=1e30 --set train.grad_clip=0 --set train.max_skipped_steps=3");
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error: training diverged: 3 steps in a row"), 1) << outcome.output;
  }
}

}  // namespace
}  // namespace mudelta::testing
