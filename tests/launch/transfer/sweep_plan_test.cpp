#include "launch/transfer/sweep/sweep_plan.h"

#include <gmock/gmock.h>

#include <map>

#include "core/error.h"
#include "data/prepare.h"
#include "launch/transfer/sweep/sweep_job.h"
#include "model/config.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SweepPlan : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    write_file(*folder_ / "a.txt", "one\n\ntwo\n\nthree");
    prepare({.text = {.files = {*folder_ / "a.txt"}}, .out = *folder_ / "data"}, {});
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static SweepConfig load(const std::string& text, const std::string& run = "") {
    const std::string data = (*folder_ / "data").string();
    return load_sweep(
        write_file(*folder_ / "sweep.textproto", "run { data { path: '" + data + "' } " + run + " }\n" + text), {});
  }
  static std::string error_of(const std::string& text, const std::string& run = "") {
    try {
      load(text, run);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  static inline TemporaryFolder* folder_ = nullptr;
};

constexpr const char* kLists = "widths: [128, 64] learning_rates { values: [2e-3, 1e-3] } ";

TEST_F(SweepPlan, ListsAreCompleted) {
  const SweepConfig sweep = load("widths: [128, 64] learning_rates { lowest: 1e-3 highest: 8e-3 points: 4 }");
  EXPECT_THAT(sweep.widths(), ElementsAre(64, 128));
  EXPECT_EQ(sweep.base_width(), 64);
  EXPECT_THAT(sweep.parametrizations(), ElementsAre(ParametrizationConfig::GDN_MUP));
  EXPECT_THAT(sweep.seeds(), ElementsAre(1));
  EXPECT_THAT(sweep.optimizers(0).learning_rates().values(), ElementsAre(1e-3, 2e-3, 4e-3, 8e-3));
  EXPECT_EQ(runs_of(sweep).size(), 8u);
  const SweepConfig both = load(std::string(kLists) +
                                "optimizers { optimizer { sgd { momentum: 0.9 } } learning_rates { values: 0.5 } } "
                                "optimizers { optimizer { adamw { beta2: 0.99 } } } seeds: [3, 2] "
                                "parametrizations: [GDN_MUP, SP]");
  EXPECT_EQ(runs_of(both).size(), 2u * 2 * 2 * (1 + 2));
  const SweepRun run{.parametrization = ParametrizationConfig::SP,
                     .optimizer = OptimizerKind::kSgd,
                     .width = 128,
                     .lr = 0.5,
                     .seed = 3};
  EXPECT_THAT(runs_of(both), ::testing::Contains(run));
  const RunConfig config = config_of(both, run);
  EXPECT_EQ(config.optimizer().sgd().lr(), 0.5);
  EXPECT_EQ(config.optimizer().sgd().momentum(), 0.9);
  EXPECT_EQ(config.parametrization().kind(), ParametrizationConfig::SP);
  EXPECT_EQ(config.train().seed(), 3u);
}

TEST_F(SweepPlan, OtherNumbersAreTriedInAllCombinations) {
  const std::string vary = "vary { field: 'optimizer.adamw.weight_decay' values: [0.2, 0.1] } ";
  const SweepConfig sweep = load(kLists + vary + "vary { field: 'model.layers' values: [4, 2] } seeds: [1, 2]",
                                 "parametrization { base_layers: 2 depth_exponent: 1 }");
  EXPECT_EQ(runs_of(sweep).size(), 2u * 2 * 2 * 4);
  const SweepRun run{
      .width = 128, .lr = 1e-3, .seed = 2, .varied = {"optimizer.adamw.weight_decay=0.1", "model.layers=4"}};
  EXPECT_THAT(runs_of(sweep), ::testing::Contains(run));
  EXPECT_EQ(run.to_string(), "GDN_MUP ADAMW width 128 lr 0.001 seed 2 optimizer.adamw.weight_decay=0.1 model.layers=4");
  const RunConfig config = config_of(sweep, run);
  EXPECT_EQ(config.optimizer().adamw().weight_decay(), 0.1);
  EXPECT_EQ(config.optimizer().adamw().lr(), 1e-3);
  EXPECT_EQ(config.model().layers(), 4);
  EXPECT_EQ(config.model().width(), 128);
  EXPECT_EQ(config.parametrization().base_layers(), 2);

  require_same_runs(sweep,
                    load(kLists + vary + "vary { field: 'model.layers' values: [2, 8] }",
                         "parametrization { base_layers: 2 depth_exponent: 1 }"),
                    "folder");
  EXPECT_THROW(require_same_runs(sweep, load(kLists + vary), "folder"), Error);
}

TEST_F(SweepPlan, WhatCannotBeVariedIsNamed) {
  const auto error = [](const std::string& vary) { return error_of(std::string(kLists) + vary); };
  EXPECT_THAT(error("vary { field: 'model.layerz' values: 2 }"), HasSubstr("layerz"));
  EXPECT_THAT(error("vary { field: 'model.layers' values: 1.5 }"), HasSubstr("model.layers=1.5"));
  EXPECT_THAT(error("vary { field: 'model.layers' values: 0 }"), HasSubstr("model.layers is 0"));
  EXPECT_THAT(error("vary { field: 'model.layers' }"), HasSubstr("vary: model.layers has no values"));
  EXPECT_THAT(error("vary { field: 'model.layers' values: [2, 2] }"), HasSubstr("vary: model.layers has 2 twice"));
  EXPECT_THAT(error("vary { field: 'model.layers' values: 2 } vary { field: 'model.layers' values: 4 }"),
              HasSubstr("vary: model.layers stands there twice"));
  EXPECT_THAT(error("vary { field: 'optimizer.sgd.momentum' values: 0.9 }"),
              HasSubstr("optimizer.sgd.momentum is no setting of ADAMW"));
  for (const char* field :
       {"model.width", "optimizer.adamw.lr", "train.seed", "model.mlp_ratio", "train.device", "data.path"}) {
    EXPECT_THAT(error(fmt::format("vary {{ field: '{}' values: 1 }}", field)), HasSubstr(field)) << field;
  }
}

TEST_F(SweepPlan, HeadsGrowInSizeOrInNumber) {
  SweepConfig sweep = load(kLists, "model { heads: 4 mlp_size: 100 }");
  const auto at = [&](std::int64_t width) { return config_of(sweep, {.width = width, .lr = 1e-3, .seed = 1}); };
  EXPECT_EQ(at(64).model().head_dim(), 12);
  const RunConfig size = at(128);
  EXPECT_EQ(size.model().heads(), 4);
  EXPECT_EQ(size.model().head_dim(), 24);
  EXPECT_EQ(size.model().mlp_size(), 200);
  EXPECT_EQ(size.parametrization().base_width(), 64);
  EXPECT_EQ(size.parametrization().base_head_dim(), 12);
  EXPECT_EQ(size.parametrization().base_heads(), 4);
  EXPECT_EQ(size.parametrization().base_mlp_size(), 100);
  sweep.set_axis(SweepConfig::HEADS);
  const RunConfig number = at(128);
  EXPECT_EQ(number.model().heads(), 8);
  EXPECT_EQ(number.model().value_heads(), 8);
  EXPECT_EQ(number.model().head_dim(), 12);
  EXPECT_EQ(number.parametrization().base_heads(), 4);
}

TEST_F(SweepPlan, BadSweepsAreRefused) {
  EXPECT_THAT(error_of("widhts: 64"), HasSubstr("has no field `widhts`; did you mean `widths`?"));
  EXPECT_THAT(error_of("learning_rates { values: 1 }"), HasSubstr("no width is given"));
  EXPECT_THAT(error_of("widths: 64"), HasSubstr("no learning rates are given for ADAMW"));
  EXPECT_THAT(error_of("widths: 64 learning_rates {}"), HasSubstr("expected either `values`, or"));
  EXPECT_THAT(error_of("widths: 64 learning_rates { lowest: 1 }"), HasSubstr("expected all of"));
  EXPECT_THAT(error_of("widths: 64 learning_rates { lowest: 2 highest: 1 points: 3 }"), HasSubstr("lowest < highest"));
  EXPECT_THAT(error_of("widths: 64 learning_rates { lowest: 1 highest: 2 points: 200000000 }"),
              HasSubstr("learning_rates.points is 200000000: expected 2 to 1000"));
  std::string seeds = "seeds: [1";
  for (int seed = 2; seed <= 201; ++seed) seeds += ", " + std::to_string(seed);
  EXPECT_THAT(error_of("widths: 64 learning_rates { lowest: 1 highest: 2 points: 500 } " + seeds + "]"),
              HasSubstr("100500 runs"));
  EXPECT_THAT(error_of("widths: 64 learning_rates { values: [1, -1] }"), HasSubstr("-1: expected numbers above 0"));
  EXPECT_THAT(error_of("widths: [64, 64] learning_rates { values: 1 }"), HasSubstr("widths has 64 twice"));
  EXPECT_THAT(error_of(std::string(kLists) + "base_width: 32"), HasSubstr("base_width is 32: expected one of widths"));
  EXPECT_THAT(error_of(std::string(kLists) + "optimizers {} optimizers {}"), HasSubstr("ADAMW stands there twice"));
  EXPECT_THAT(error_of(kLists, "model { width: 256 }"), HasSubstr("run.model.width is 256: expected the base width"));
  EXPECT_THAT(error_of(kLists, "train { steps: 0 }"), HasSubstr("train.steps is 0"));
  EXPECT_THAT(error_of("widths: [64, 96] axis: HEADS learning_rates { values: 1 }", "model { heads: 1 }"),
              HasSubstr("width 96: model.heads would be"));
}

TEST_F(SweepPlan, RunsOfAnotherSweepAreNotMixed) {
  const SweepConfig sweep = load(kLists);
  const SweepConfig longer =
      load("widths: [64, 256] learning_rates { values: [3e-3] } seeds: [5] parametrizations: SP");
  EXPECT_NO_THROW(require_same_runs(sweep, longer, "there"));
  const auto refused = [&](const SweepConfig& other) {
    try {
      require_same_runs(sweep, other, "there");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(refused(load(kLists, "train { steps: 7 }")),
              AllOf(HasSubstr("there holds runs of another sweep"), HasSubstr("steps")));
  EXPECT_THAT(refused(load(kLists, "optimizer { adamw { beta1: 0.5 } }")),
              AllOf(HasSubstr("another optimizer"), HasSubstr("beta1")));
}

TEST_F(SweepPlan, ShippedSweepsAreSound) {
  const std::map<std::string, std::size_t> runs = {{"sweep-smoke", 20},       {"sweep-quick", 30},
                                                   {"sweep-cpu-adamw", 144},  {"sweep-cpu-sgd", 216},
                                                   {"sweep-paper-adamw", 48}, {"sweep-paper-sgd", 60}};
  for (const auto& [name, count] : runs) {
    const auto path = std::filesystem::path(MUDELTA_CONFIGS) / (name + ".textproto");
    const SweepConfig sweep = load_sweep(path, {"run.data.path=" + (*folder_ / "data").string()});
    EXPECT_EQ(runs_of(sweep).size(), count) << name;
  }
}

TEST(SweepJob, TheCostliestRunsAreSharedOutFirst) {
  EXPECT_THAT(share_out(std::vector<double>{1, 1, 4, 2}, 2), ElementsAre(1, 1, 0, 1));
  EXPECT_THAT(share_out(std::vector<double>{1, 1}, 1), ElementsAre(0, 0));
  EXPECT_THAT(share_out(std::vector<double>{}, 3), ElementsAre());
}

}  // namespace
}  // namespace mudelta::testing
