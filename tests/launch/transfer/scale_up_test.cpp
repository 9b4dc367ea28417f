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
#include "launch/transfer/sweep/sweep_report.h"
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
    return scaled(optimizer, overrides).config;
  }
  ScaledRun scaled(OptimizerKind optimizer, const std::vector<std::string>& overrides,
                   HorizonRule horizon = HorizonRule::kNone) const {
    return scale_up(sweep_, report_, choose_series(report_, {.optimizer = optimizer}), overrides, horizon);
  }
  std::string error_of(const SeriesChoice& choice, const std::vector<std::string>& overrides) const {
    try {
      scale_up(sweep_, report_, choose_series(report_, choice), overrides, HorizonRule::kNone);
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
  const auto [config, notes] = scaled(OptimizerKind::kAdamW, {"model.width=256", "train.steps=1000"});
  const std::string table = describe_scaling(config, 4);
  EXPECT_THAT(table, AllOf(HasSubstr("attn.q_proj.weight"), HasSubstr("HIDDEN"), HasSubstr("[192, 256]"),
                           HasSubstr("std 0.01 "), HasSubstr("logits x 0.25"), HasSubstr("4 data ranks")));
  EXPECT_THAT(notes, ::testing::ElementsAre(
                         HasSubstr("learning rate 0.003906: the best of GDN_MUP ADAMW at width 64, 3 runs"),
                         HasSubstr("it cost 0.0000 nats"), HasSubstr("another batch or horizon than the sweep's")));
}

TEST_F(ScaleUp, WarmupAndDecayKeepTheirShareOfTheSteps) {
  ScheduleConfig& schedule = *sweep_.mutable_run()->mutable_schedule();
  schedule.set_kind(ScheduleConfig::WSD);
  schedule.set_warmup_steps(1);
  schedule.set_decay_steps(2);
  const auto [longer, notes] = scaled(OptimizerKind::kAdamW, {"model.width=256", "train.steps=1000"});
  EXPECT_EQ(longer.schedule().warmup_steps(), 250);
  EXPECT_EQ(longer.schedule().decay_steps(), 500);
  EXPECT_THAT(notes, ::testing::IsSupersetOf({HasSubstr("warm-up 250 steps; the sweep's was 1 of 4"),
                                              HasSubstr("decay 500 steps; the sweep's was 2 of 4")}));
  EXPECT_EQ(wide(OptimizerKind::kAdamW, {"model.width=256"}).schedule().warmup_steps(), 1);
  const RunConfig given =
      wide(OptimizerKind::kAdamW, {"model.width=256", "train.steps=1000", "schedule.warmup_steps=7"});
  EXPECT_EQ(given.schedule().warmup_steps(), 7);
  schedule.set_warmup_steps(0);
  EXPECT_EQ(wide(OptimizerKind::kAdamW, {"model.width=256", "train.steps=1000"}).schedule().warmup_steps(), 0);
}

TEST_F(ScaleUp, DepthIsCarriedWithAnExponent) {
  const std::vector<std::string> deeper = {"model.layers=8"};
  const auto [plain, warnings] = scaled(OptimizerKind::kSgd, deeper);
  EXPECT_EQ(plain.model().layers(), 8);
  EXPECT_EQ(plain.model().width(), 64);
  EXPECT_EQ(make_parametrization(plain).forward_multipliers(), ForwardMultipliers());
  EXPECT_THAT(warnings, ::testing::Contains(HasSubstr("8 layers, the sweep's runs had 2: nothing carries")));

  sweep_.mutable_run()->mutable_parametrization()->set_depth_exponent(1);
  const auto [deep, notes] = scaled(OptimizerKind::kSgd, deeper);
  const RunConfig read = round_trip(deep);
  EXPECT_EQ(read.parametrization().base_layers(), 2);
  EXPECT_EQ(make_parametrization(read).forward_multipliers().residual, 0.25);
  EXPECT_EQ(scaling_of(read, "model.layers.7.attn.q_proj.weight").lr, 4);
  EXPECT_EQ(scaling_of(read, "model.norm.weight").lr, 1);
  EXPECT_THAT(notes,
              ::testing::Contains("8 layers, the sweep's runs had 2: carried with depth exponent 1 from 2 layers"));
  EXPECT_THAT(describe_scaling(deep, 1), AllOf(HasSubstr("add to the residual stream x 0.25"),
                                               ::testing::ContainsRegex("attn.q_proj.weight +8 ")));
  // What the sweep's own runs were relative to stays.
  sweep_.mutable_run()->mutable_parametrization()->set_base_layers(1);
  EXPECT_EQ(make_parametrization(wide(OptimizerKind::kSgd, deeper)).forward_multipliers().residual, 0.125);
  EXPECT_EQ(make_parametrization(wide(OptimizerKind::kSgd, {"model.width=128"})).forward_multipliers().residual, 0.5);
}

// Batch x 4, tokens x 16: 4 times the steps.
TEST_F(ScaleUp, HorizonRulesCarryTheOptimizer) {
  const std::vector<std::string> longer = {"model.width=64", "train.steps=16", "train.global_batch=16"};
  const double lr = 0.003906;
  const auto [sqrt, notes] = scaled(OptimizerKind::kAdamW, longer, HorizonRule::kSqrt);  // k = 4
  const AdamWConfig& adamw = sqrt.optimizer().adamw();
  EXPECT_DOUBLE_EQ(adamw.lr(), 2 * lr);
  EXPECT_DOUBLE_EQ(adamw.beta1(), 0.6);
  EXPECT_DOUBLE_EQ(adamw.beta2(), 0.8);
  EXPECT_DOUBLE_EQ(adamw.eps(), 5e-9);
  EXPECT_DOUBLE_EQ(adamw.weight_decay(), 0.4);
  EXPECT_THAT(notes,
              ::testing::IsSupersetOf(
                  {HasSubstr("horizon SQRT: tokens a step x 4, tokens of the run x 16; k = 4"),
                   HasSubstr("optimizer.adamw.lr                 0.003906 -> 0.007812     lr as k^1/2"),
                   HasSubstr("0.95 -> 0.8          1 - beta2 as k"), HasSubstr("the tokens of the run are others")}));

  const RunConfig timescale = scaled(OptimizerKind::kAdamW, longer, HorizonRule::kTimescale).config;  // k = 1/4
  EXPECT_DOUBLE_EQ(timescale.optimizer().adamw().lr(), lr / 2);
  EXPECT_DOUBLE_EQ(timescale.optimizer().adamw().beta1(), 0.975);
  EXPECT_DOUBLE_EQ(timescale.optimizer().adamw().eps(), 2e-8);
  EXPECT_DOUBLE_EQ(timescale.optimizer().adamw().weight_decay(), 0.1);

  const SgdConfig sgd = scaled(OptimizerKind::kSgd, longer, HorizonRule::kSqrt).config.optimizer().sgd();
  EXPECT_DOUBLE_EQ(sgd.lr(), 4 * lr);
  EXPECT_DOUBLE_EQ(sgd.momentum(), 0.9);
}

TEST_F(ScaleUp, HorizonRulesLeaveWhatIsGivenAndWhatFits) {
  for (const HorizonRule rule : {HorizonRule::kSqrt, HorizonRule::kTimescale}) {
    const auto [same, notes] = scaled(OptimizerKind::kAdamW, {"model.width=256"}, rule);
    EXPECT_EQ(same.SerializeAsString(), wide(OptimizerKind::kAdamW, {"model.width=256"}).SerializeAsString());
  }
  std::vector<std::string> large = {"model.width=64", "train.global_batch=64", "train.steps=1"};  // k = 16
  try {
    scaled(OptimizerKind::kAdamW, large, HorizonRule::kSqrt);
    ADD_FAILURE() << "1 - 16 x 0.1 is no beta";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("optimizer.adamw.beta1 is -0.6"), HasSubstr("k = 16); give it")));
  }
  large.emplace_back("optimizer.adamw.beta1=0.9");
  const RunConfig given = scaled(OptimizerKind::kAdamW, large, HorizonRule::kSqrt).config;
  EXPECT_EQ(given.optimizer().adamw().beta1(), 0.9);
  EXPECT_NEAR(given.optimizer().adamw().beta2(), 0.2, 1e-12);
}

TEST_F(ScaleUp, TakesTheBestOfWhatIsVaried) {
  VariedField& vary = *sweep_.add_vary();
  vary.set_field("train.grad_clip");
  for (const double value : {0.25, 0.5, 1.0}) vary.add_values(value);
  std::vector<SweepResult> results;
  for (const SweepRun& run : runs_of(sweep_)) {
    const double x = std::log2(run.lr) + 8,
                 better = run.varied == std::vector<std::string>{"train.grad_clip=0.5"} ? 0.1 : 0;
    results.push_back({.run = run, .loss = 2 + 0.1 * x * x - better});
  }
  report_ = analyse(sweep_.base_width(), results);
  EXPECT_EQ(report_.series.size(), 4u * 3);
  const auto [config, notes] = scaled(OptimizerKind::kAdamW, {"model.width=256"});
  EXPECT_EQ(config.train().grad_clip(), 0.5);
  EXPECT_THAT(notes, ::testing::Contains(HasSubstr("the best of GDN_MUP ADAMW train.grad_clip=0.5 at width 64")));
  EXPECT_THAT(to_text(report_), ::testing::ContainsRegex("GDN_MUP ADAMW train.grad_clip=0.5 +1.9000 +1.9000"));
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
  EXPECT_THROW(scale_up(sweep_, no_base, no_base.series[0], {"model.width=256"}, HorizonRule::kNone), Error);
}

}  // namespace
}  // namespace mudelta::testing
