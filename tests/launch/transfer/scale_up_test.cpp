#include "launch/transfer/scale_up/scale_up.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "data/prepare.h"
#include "launch/config/run_config.h"
#include "launch/train/scaling.h"
#include "launch/train/trainer.h"
#include "launch/train/training_job.h"
#include "launch/transfer/scale_up/scale_up_table.h"
#include "model/parameters.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A sweep of which base width 64 has its optimum at 2^-8 under each parametrization and optimizer.
class ScaleUp : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (int i = 0; i < 400; ++i) text += "a text of some length, number " + std::to_string(i) + "\n\n";
    write_file(folder_ / "a.txt", text);
    prepare({.text = {.files = {folder_ / "a.txt"}}, .out = folder_ / "data", .validation_fraction = 0.1}, {});
    sweep_ = load_sweep(write_file(folder_ / "sweep.textproto", R"(
        run {
          data { path: ')" + (folder_ / "data").string() + R"(' }
          model { layers: 2 heads: 2 }
          train { steps: 4 global_batch: 4 sequence_length: 32 eval_sequences: 4 }
          parametrization { scaling { role: GATE optimizer: SGD lr_width: -0.25 } }
        }
        widths: [64, 128]
        parametrizations: [SP, GDN_MUP]
        optimizers { optimizer { adamw { weight_decay: 0.2 } } }
        optimizers { optimizer { sgd { momentum: 0.9 } } }
        learning_rates { values: [0.001, 0.004, 0.016] })"),
                        {});
    std::vector<SweepResult> results;
    for (const SweepRun& run : runs_of(sweep_)) {
      const double x = std::log2(run.lr) + 8 + (run.parametrization == ParametrizationConfig::SP ? 1 : 0);
      results.push_back({.run = run, .loss = 2 + 0.1 * x * x});
    }
    report_ = analyse(sweep_.base_width(), results);
  }

  RunConfig wide(OptimizerKind optimizer, const std::vector<std::string>& overrides) const {
    return scale_up(sweep_, report_, choose_series(report_, {.optimizer = optimizer}), overrides);
  }
  std::string error_of(const SeriesChoice& choice, const std::vector<std::string>& overrides) const {
    try {
      scale_up(sweep_, report_, choose_series(report_, choice), overrides);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  // Written, and read as `mudelta train` reads it.
  RunConfig round_trip(const RunConfig& config) const {
    const auto file = write_file(folder_ / "wide.textproto", resolved_text(config));
    return complete_run_config(load_run_config(file, {}), 1);
  }

  TemporaryFolder folder_;
  SweepConfig sweep_;
  SweepReport report_;
};

ParameterScaling scaling_of(const RunConfig& config, const std::string& name) {
  const auto specs = parameter_specs(config.model());
  const auto found = std::ranges::find(specs, name, &ParameterSpec::name);
  return make_parametrization(config).scaling()[static_cast<std::size_t>(found - specs.begin())];
}

TEST_F(ScaleUp, RoundTripKeepsTheRules) {
  const RunConfig config = round_trip(wide(OptimizerKind::kAdamW, {"model.width=256"}));
  EXPECT_NEAR(config.optimizer().adamw().lr(), std::exp2(-8), 1e-6);
  EXPECT_EQ(config.optimizer().adamw().weight_decay(), 0.2);
  EXPECT_EQ(config.parametrization().kind(), ParametrizationConfig::GDN_MUP);
  EXPECT_EQ(config.model().head_dim(), 96);
  EXPECT_EQ(config.parametrization().base_head_dim(), 24);
  // m = n = 4.
  EXPECT_EQ(scaling_of(config, "model.layers.0.attn.q_proj.weight").lr, 0.25);
  EXPECT_EQ(scaling_of(config, "model.layers.0.attn.q_proj.weight").init, 0.5);
  EXPECT_EQ(scaling_of(config, "model.embeddings.weight").lr, 1);
  EXPECT_EQ(make_parametrization(config).forward_multipliers().logits, 0.25);
  const RunConfig sgd = round_trip(wide(OptimizerKind::kSgd, {"model.width=256"}));
  EXPECT_EQ(sgd.optimizer().sgd().momentum(), 0.9);
  EXPECT_EQ(scaling_of(sgd, "model.embeddings.weight").lr, 4);
  EXPECT_NEAR(scaling_of(sgd, "model.layers.1.attn.a_proj.weight").lr, std::pow(4, -0.25), 1e-12);  // the override
  EXPECT_NEAR(scaling_of(sgd, "model.layers.1.attn.A_log").lr, 2, 1e-12);                           // m n^-1/2
}

TEST_F(ScaleUp, HeadsMayGrowToo) {
  const RunConfig both = wide(OptimizerKind::kAdamW, {"model.width=256", "model.heads=4"});
  EXPECT_EQ(both.model().heads(), 4);
  EXPECT_EQ(both.model().value_heads(), 4);
  EXPECT_EQ(both.model().head_dim(), 48);
  EXPECT_EQ(growth_ratios(base_model(both), both).head_dim, 2);
  const RunConfig number = wide(OptimizerKind::kAdamW, {"model.head_dim=24", "model.width=256"});
  EXPECT_EQ(number.model().heads(), 8);
}

TEST_F(ScaleUp, TheWideRunTrains) {
  const RunConfig config = round_trip(wide(OptimizerKind::kAdamW, {"model.width=96"}));
  const Mesh mesh;
  Trainer trainer(config, mesh);
  EXPECT_EQ(trainer.parametrization().forward_multipliers().logits, 64.0 / 96);
  const TrainStep step = trainer.step();
  EXPECT_FALSE(step.skipped);
  EXPECT_NEAR(step.loss, std::log(257), 0.5);
}

TEST_F(ScaleUp, TableAndProvenance) {
  const RunConfig config = wide(OptimizerKind::kAdamW, {"model.width=256", "train.steps=1000"});
  const std::string table = describe_scaling(config, 4);
  EXPECT_THAT(table, AllOf(HasSubstr("attn.q_proj.weight"), HasSubstr("HIDDEN"), HasSubstr("[192, 256]"),
                           HasSubstr("std 0.01 "), HasSubstr("logits x 0.25"), HasSubstr("4 data ranks")));
  const SweepSeries& series = choose_series(report_, {.optimizer = OptimizerKind::kAdamW});
  EXPECT_THAT(provenance(sweep_, report_, series, config),
              ::testing::ElementsAre(HasSubstr("learning rate 0.003906: the best of GDN_MUP ADAMW at width 64, 3 runs"),
                                     HasSubstr("it cost 0.0000 nats"), HasSubstr("another horizon")));
}

TEST_F(ScaleUp, WarmupAndDecayKeepTheirShareOfTheSteps) {
  ScheduleConfig& schedule = *sweep_.mutable_run()->mutable_schedule();
  schedule.set_kind(ScheduleConfig::WSD);
  schedule.set_warmup_steps(1);
  schedule.set_decay_steps(2);
  const SweepSeries& series = choose_series(report_, {.optimizer = OptimizerKind::kAdamW});
  const RunConfig longer = wide(OptimizerKind::kAdamW, {"model.width=256", "train.steps=1000"});
  EXPECT_EQ(longer.schedule().warmup_steps(), 250);
  EXPECT_EQ(longer.schedule().decay_steps(), 500);
  EXPECT_THAT(provenance(sweep_, report_, series, longer),
              ::testing::IsSupersetOf({HasSubstr("warm-up 250 steps; the sweep's was 1 of 4"),
                                       HasSubstr("decay 500 steps; the sweep's was 2 of 4")}));
  EXPECT_EQ(wide(OptimizerKind::kAdamW, {"model.width=256"}).schedule().warmup_steps(), 1);
  const RunConfig given =
      wide(OptimizerKind::kAdamW, {"model.width=256", "train.steps=1000", "schedule.warmup_steps=7"});
  EXPECT_EQ(given.schedule().warmup_steps(), 7);
  schedule.set_warmup_steps(0);
  EXPECT_EQ(wide(OptimizerKind::kAdamW, {"model.width=256", "train.steps=1000"}).schedule().warmup_steps(), 0);
}

TEST_F(ScaleUp, BadRequestsAreRefused) {
  const SeriesChoice adamw{.optimizer = OptimizerKind::kAdamW};
  EXPECT_THAT(error_of({}, {"model.width=256"}),
              HasSubstr("the sweep has GDN_MUP ADAMW, GDN_MUP SGD: choose with --parametrization and --optimizer"));
  EXPECT_THAT(error_of({.parametrization = ParametrizationConfig::MUP}, {"model.width=256"}),
              HasSubstr("the sweep has no runs of MUP any optimizer; it has SP ADAMW, GDN_MUP ADAMW, SP SGD, GDN_MUP"));
  EXPECT_THAT(error_of(adamw, {"train.steps=3"}), HasSubstr("no width is given"));
  EXPECT_THAT(error_of(adamw, {"model.widht=3"}), HasSubstr("did you mean `width`?"));
  EXPECT_THAT(error_of(adamw, {"model.width=100", "model.heads=7"}), HasSubstr("no whole number"));
  SweepReport no_base = report_;
  no_base.base_width = 32;
  EXPECT_THROW(scale_up(sweep_, no_base, no_base.series[0], {"model.width=256"}), Error);
}

}  // namespace
}  // namespace mudelta::testing
