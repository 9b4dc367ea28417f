#include "launch/transfer/sweep/transfer_check.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "data/prepare.h"
#include "launch/train/scaling.h"
#include "model/parameters.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Sweeps whose losses are made up: a valley in the log of what the parametrization makes of the learning rate of W_q.
// It lies at 2^-8 of the base width, and at 1/m of that at a width m times as large; seeds move it by about `noise`.
class TransferChecks : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (int i = 0; i < 400; ++i) text += "a text of some length, number " + std::to_string(i) + "\n\n";
    write_file(folder_ / "a.txt", text);
    prepare({.text = {.files = {folder_ / "a.txt"}}, .out = folder_ / "data", .validation_fraction = 0.1}, {});
  }

  // `scaling`: of the parametrization; `more`: of the sweep.
  SweepConfig sweep(const std::string& scaling = "", const std::string& more = "seeds: [1, 2, 3]") const {
    return load_sweep(write_file(folder_ / "sweep.textproto", R"(
        run { data { path: ')" + (folder_ / "data").string() + R"(' }
              model { layers: 1 heads: 2 }
              train { steps: 2 global_batch: 2 sequence_length: 16 }
              parametrization { )" + scaling + R"( } }
        widths: [64, 128, 512]
        learning_rates { lowest: 0.00048828125 highest: 0.03125 points: 7 } )" +
                                                                  more),
                      {});
  }

  static double lr_of_w_q(const SweepConfig& sweep, const SweepRun& run) {
    const RunConfig config = config_of(sweep, run);
    const auto specs = parameter_specs(config.model());
    const auto w_q = std::ranges::find(specs, "model.layers.0.attn.q_proj.weight", &ParameterSpec::name);
    return run.lr * make_parametrization(config).scaling()[static_cast<std::size_t>(w_q - specs.begin())].lr;
  }

  TransferCheck check(const SweepConfig& sweep, double curvature = 0.03, double noise = 0.1,
                      TransferCheckRequest request = {}, std::size_t unfinished = 0) {
    const SweepDirectory directory(folder_ / fmt::format("sweep-{}", ++checks_));
    directory.make();
    directory.write_config(sweep);
    ResultWriter results(directory.results());
    const std::vector<SweepRun> runs = runs_of(sweep);
    for (const SweepRun& run : std::span(runs).first(runs.size() - unfinished)) {
      const double shift = noise * CounterRng(run.seed, "valley").normal(static_cast<std::uint64_t>(run.width));
      const double x = std::log2(lr_of_w_q(sweep, run) * static_cast<double>(run.width) / 64) + 8 - shift;
      results.append({.run = run, .loss = 2 + curvature * x * x});
    }
    request.folder = directory.root();
    return check_transfer(request);
  }

  TemporaryFolder folder_;
  int checks_ = 0;
};

TEST_F(TransferChecks, RightMultipliersAreAccepted) {
  const TransferCheck found = check(sweep());
  EXPECT_TRUE(found.accepted);
  EXPECT_THAT(found.text, AllOf(HasSubstr("GDN_MUP ADAMW, width 64 to 512: drift "), HasSubstr(": ACCEPTED\n")));
}

// 8^(1/3): at 8 times the width, the multiplier of the hidden matrices is twice what it should be, or half.
TEST_F(TransferChecks, AMultiplierThatIsWrongByTwoIsRejected) {
  for (const char* scaling : {"scaling { role: HIDDEN lr_width: -0.66666666666666667 }",
                              "scaling { role: HIDDEN lr_width: -1.33333333333333333 }"}) {
    const TransferCheck found = check(sweep(scaling));
    EXPECT_FALSE(found.accepted);
    EXPECT_THAT(found.text, AllOf(HasSubstr("the drift is "), HasSubstr("the regret is 0.0"), HasSubstr("REJECTED")));
    // The drift by itself is enough, where the valley is flat.
    const TransferCheck flat = check(sweep(scaling), 0.003);
    EXPECT_FALSE(flat.accepted);
    EXPECT_THAT(flat.text, AllOf(HasSubstr("the drift is "), Not(HasSubstr("the regret is"))));
  }
}

TEST_F(TransferChecks, WhatCannotSeeAFactorOfTwoIsRejected) {
  EXPECT_THAT(check(sweep(), 0.003, 1.2).text, HasSubstr("too large to see a factor of 2"));
  const TransferCheck one_seed = check(sweep("", "seeds: 1"));
  EXPECT_FALSE(one_seed.accepted);
  EXPECT_THAT(one_seed.text, HasSubstr("expected two seeds or more"));
  // The regret by itself.
  const SweepConfig off_by_little = sweep("scaling { role: HIDDEN lr_width: -1.07 }");
  const TransferCheck steep = check(off_by_little, 3, 0.2);
  EXPECT_FALSE(steep.accepted);
  EXPECT_THAT(steep.text, AllOf(HasSubstr("the regret is"), Not(HasSubstr("the drift is"))));
  EXPECT_TRUE(check(off_by_little, 3, 0.2, {.max_regret = 1}).accepted);
}

TEST_F(TransferChecks, OnlyWhatIsAskedForCounts) {
  const SweepConfig both = sweep("", "seeds: [1, 2, 3] parametrizations: [SP, GDN_MUP]");
  const TransferCheck found = check(both);
  EXPECT_TRUE(found.accepted);
  EXPECT_THAT(found.text, HasSubstr("REJECTED (does not count)\n"));
  EXPECT_FALSE(check(both, 0.03, 0.1, {.parametrization = ParametrizationConfig::SP}).accepted);
  EXPECT_THAT(error_of([&] { check(both, 0.03, 0.1, {.optimizer = OptimizerKind::kSgd}); }),
              HasSubstr("has no finished runs"));
}

TEST_F(TransferChecks, EachSettingOfWhatIsVariedCounts) {
  const SweepConfig two = sweep("", "seeds: [1, 2, 3] vary { field: 'train.grad_clip' values: [0, 1] }");
  const TransferCheck found = check(two);
  EXPECT_TRUE(found.accepted);
  EXPECT_THAT(found.text, AllOf(HasSubstr("GDN_MUP ADAMW train.grad_clip=0, width 64 to 512: drift "),
                                HasSubstr("GDN_MUP ADAMW train.grad_clip=1, width 64 to 512: drift ")));
  EXPECT_FALSE(check(two, 0.03, 0.1, {}, 1).accepted);
}

TEST_F(TransferChecks, UnfinishedSweepsAreRejected) {
  const TransferCheck found = check(sweep(), 0.03, 0.1, {}, 1);
  EXPECT_FALSE(found.accepted);
  EXPECT_THAT(found.text, HasSubstr("1 of its runs are not finished"));
  EXPECT_THAT(check(sweep(), 0.03, 0.1, {}, 42).text, HasSubstr("no width above the base"));
  EXPECT_THAT(error_of([&] { check_transfer({.folder = folder_ / "nowhere"}); }), HasSubstr("nowhere is no folder"));
}

TEST_F(TransferChecks, BoundsAreNoMeasurements) {
  SweepConfig low = sweep();
  low.mutable_optimizers(0)->mutable_learning_rates()->mutable_values()->Truncate(3);
  const TransferCheck found = check(low);
  EXPECT_FALSE(found.accepted);
  EXPECT_THAT(found.text, AllOf(HasSubstr("the best learning rate of width 64 is at an end of those tried"),
                                HasSubstr("the best learning rate of width 512 is")));
}

}  // namespace
}  // namespace mudelta::testing
