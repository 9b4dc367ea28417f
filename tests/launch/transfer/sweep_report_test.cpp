#include "launch/transfer/sweep/sweep_report.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Kind = ParametrizationConfig::Kind;

// Lines of a sweep.jsonl: a valley in log2 lr at each width, sampled at 2^-10 .. 2^-6.
struct HandMade {
  std::string lines;

  void add(Kind kind, std::int64_t width, double best, double loss, double curvature, std::uint64_t seed = 1) {
    for (int x = -10; x <= -6; ++x) {
      const double y = loss + curvature * (x - best) * (x - best);
      lines += fmt::format(
          R"({{"parametrization":"{}","optimizer":"ADAMW","width":{},"lr":{},"seed":{},"loss":{},"diverged":false}})",
          ParametrizationConfig::Kind_Name(kind), width, std::exp2(x), seed, y);
      lines += "\n";
    }
  }
  void add_diverged(Kind kind, std::int64_t width, double lr) {
    lines += fmt::format(
        R"({{"parametrization":"{}","optimizer":"ADAMW","width":{},"lr":{},"seed":1,"loss":null,"diverged":true}})",
        ParametrizationConfig::Kind_Name(kind), width, lr);
    lines += "\n";
  }
};

class HandMadeSweep : public ::testing::Test {
 protected:
  void SetUp() override { write_file(folder_ / "sweep.textproto", "base_width: 64 run { model { vocab_size: 257 } }"); }
  SweepReport report(const HandMade& made) {
    write_file(folder_ / "sweep.jsonl", made.lines);
    return analyse(64, SweepDirectory(folder_.path()).read());
  }

  TemporaryFolder folder_;
};

TEST_F(HandMadeSweep, DriftAndRegret) {
  HandMade made;
  made.add(ParametrizationConfig::SP, 64, -8, 2.0, 0.1);
  made.add(ParametrizationConfig::SP, 128, -9, 1.8, 0.2);
  made.add(ParametrizationConfig::SP, 256, -10, 1.6, 0.1);
  made.add(ParametrizationConfig::GDN_MUP, 64, -8, 2.0, 0.1);
  made.add(ParametrizationConfig::GDN_MUP, 128, -7.9, 1.7, 0.1);
  const SweepReport found = report(made);
  ASSERT_EQ(found.series.size(), 2u);
  const SweepSeries& sp = found.series[0];
  EXPECT_EQ(sp.parametrization, ParametrizationConfig::SP);
  EXPECT_NEAR(sp.grid_step, 1, 1e-12);
  ASSERT_EQ(sp.widths.size(), 3u);
  EXPECT_NEAR(sp.widths[0].drift->value, 0, 1e-9);
  EXPECT_NEAR(sp.widths[0].regret->value, 0, 1e-9);
  EXPECT_NEAR(sp.widths[1].log2_lr->value, -9, 1e-9);
  EXPECT_NEAR(sp.widths[1].drift->value, -1, 1e-9);
  EXPECT_NEAR(sp.widths[1].loss->value, 1.8, 1e-9);
  EXPECT_NEAR(sp.widths[1].regret->value, 0.2, 1e-9);  // 0.2 x 1^2
  EXPECT_FALSE(sp.widths[1].regret->error);            // one seed
  EXPECT_NEAR(sp.widths[2].drift->value, -2, 1e-9);
  EXPECT_NEAR(sp.widths[2].regret->value, 0.4, 1e-9);  // 0.1 x 2^2
  EXPECT_EQ(sp.widths[2].curve.best()->bracket, Bracket::kLowest);
  ASSERT_EQ(sp.widths[2].regrets.size(), 2u);
  EXPECT_EQ(sp.widths[2].regrets[1].proxy_width, 128);
  EXPECT_NEAR(sp.widths[2].regrets[1].regret.value, 0.1, 1e-9);  // 0.1 x 1^2
  EXPECT_THAT(to_text(found), HasSubstr("regret of the lr of               128               256"));
  EXPECT_THAT(to_text(found), HasSubstr("               128                             +0.1000"));
  const SweepSeries& ours = found.series[1];
  EXPECT_NEAR(ours.widths[1].drift->value, 0.1, 1e-9);
  EXPECT_NEAR(ours.widths[1].regret->value, 0.001, 1e-9);
}

TEST_F(HandMadeSweep, ErrorsTellHowMuchSeedsMatter) {
  HandMade made;
  made.add(ParametrizationConfig::SP, 64, -8, 2.0, 0.1, 1);
  made.add(ParametrizationConfig::SP, 64, -8, 2.0, 0.1, 2);
  made.add(ParametrizationConfig::SP, 128, -8.1, 1.79, 0.1, 1);
  made.add(ParametrizationConfig::SP, 128, -7.9, 1.81, 0.1, 2);
  const SweepReport found = report(made);
  const WidthReport& wide = found.series[0].widths[1];
  // Two seeds: half of the difference between what they give alone.
  EXPECT_NEAR(wide.log2_lr->value, -8, 1e-9);
  EXPECT_NEAR(*wide.log2_lr->error, 0.1, 1e-9);
  EXPECT_NEAR(*wide.drift->error, 0.1, 1e-9);
  EXPECT_NEAR(wide.loss->value, 1.801, 1e-9);  // the mean curve is 0.1 x 0.1^2 above the mean of the two vertices
  EXPECT_NEAR(*wide.loss->error, 0.01, 1e-9);
  EXPECT_NEAR(*wide.regret->error, 0, 1e-9);
  EXPECT_EQ(wide.seeds, 2);
}

// Three seeds whose vertices have the standard error s at the narrow width and t at the wide one.
TEST_F(HandMadeSweep, ErrorsOfBothWidthsAddUp) {
  HandMade made;
  const double narrow[] = {-8.3, -8, -7.7}, wide[] = {-9, -8.4, -8.4};
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    made.add(ParametrizationConfig::SP, 64, narrow[seed], 2.0, 0.1, seed);
    made.add(ParametrizationConfig::SP, 128, wide[seed], 1.8, 0.1, seed);
  }
  const SweepReport found = report(made);
  const auto& widths = found.series[0].widths;
  const double s = 0.3 / std::sqrt(3.0), t = 0.2;  // parabolas of one curvature: the mean's vertex is the mean vertex
  EXPECT_NEAR(*widths[0].log2_lr->error, s, 1e-9);
  EXPECT_NEAR(*widths[1].log2_lr->error, t, 1e-9);
  EXPECT_NEAR(widths[1].drift->value, -0.6, 1e-9);
  EXPECT_NEAR(*widths[1].drift->error, std::hypot(s, t), 1e-9);
  EXPECT_NEAR(widths[1].regret->value, 0.036, 1e-9);                     // 0.1 x 0.6^2
  EXPECT_NEAR(*widths[1].regret->error, 0.12 * std::hypot(s, t), 2e-3);  // x its slope, but for second order
}

TEST_F(HandMadeSweep, DivergenceIsAResult) {
  HandMade made;
  made.add(ParametrizationConfig::SP, 64, -5, 2.0, 0.1);  // best: the highest
  for (int x = -8; x <= -6; ++x) made.add_diverged(ParametrizationConfig::SP, 128, std::exp2(x));
  made.add_diverged(ParametrizationConfig::SP, 256, std::exp2(-8));
  const SweepReport found = report(made);
  const auto& widths = found.series[0].widths;
  EXPECT_FALSE(widths[1].log2_lr);
  EXPECT_EQ(widths[1].diverged, 3);
  EXPECT_FALSE(widths[2].regret);
  made.add(ParametrizationConfig::SP, 512, -10, 2.0, 0.1);
  std::string lines = made.lines;
  const std::string last = made.lines.substr(made.lines.rfind('\n', made.lines.size() - 2) + 1);
  made.lines.resize(made.lines.size() - last.size());
  made.add_diverged(ParametrizationConfig::SP, 512, std::exp2(-6));
  const SweepReport again = report(made);
  EXPECT_EQ(again.series[0].widths[3].regret->value, HUGE_VAL);
  EXPECT_THAT(to_text(again), AllOf(HasSubstr("diverges"), HasSubstr("all diverged"), HasSubstr("highest lr tried")));
}

TEST_F(HandMadeSweep, AFitFarBelowTheRunsIsNoted) {
  HandMade made;
  made.add(ParametrizationConfig::SP, 64, -8.5, 2.0, 0.1);  // the nearest runs are 0.025 above the vertex
  EXPECT_THAT(to_text(report(made)), HasSubstr("coarse grid"));
  HandMade finer;
  finer.add(ParametrizationConfig::SP, 64, -8.3, 2.0, 0.1);  // 0.009
  EXPECT_THAT(to_text(report(finer)), Not(HasSubstr("coarse grid")));
}

TEST_F(HandMadeSweep, FilesAreWritten) {
  HandMade made;
  made.add(ParametrizationConfig::SP, 64, -8, 2.0, 0.1);
  made.add(ParametrizationConfig::SP, 128, -9, 1.8, 0.2);
  made.lines += R"({"parametrization":"SP","opti)";  // cut short
  write_file(folder_ / "sweep.jsonl", made.lines);
  const std::string said = write_report(SweepDirectory(folder_.path()), LossScale::kAboveBest);
  EXPECT_THAT(said, AllOf(HasSubstr("SP ADAMW"), HasSubstr("-1.00"), HasSubstr("+0.2000")));
  EXPECT_THAT(said, HasSubstr(read_file(folder_ / "report.txt")));
  const auto json = nlohmann::json::parse(read_file(folder_ / "report.json"));
  EXPECT_NEAR(json["series"][0]["widths"][1]["drift"]["value"].get<double>(), -1, 1e-9);
  EXPECT_NEAR(json["series"][0]["widths"][1]["best_lr"].get<double>(), std::exp2(-9), 1e-9);
  EXPECT_THAT(names_in(folder_.path()), ::testing::Contains("transfer-adamw.gnuplot"));
}

TEST_F(HandMadeSweep, PlotsNameWidthsErrorsAndTheBaseWidthsBest) {
  HandMade made;
  for (const std::uint64_t seed : {1, 2}) {
    const double shift = seed == 1 ? 0 : 0.02;
    made.add(ParametrizationConfig::SP, 64, -8, 2.0 + shift, 0.1, seed);
    made.add(ParametrizationConfig::SP, 128, -9, 1.8 + shift, 0.2, seed);
  }
  const SweepReport found = report(made);
  const Plot above = plot_of(found, OptimizerKind::kAdamW, LossScale::kAboveBest);
  ASSERT_EQ(above.panels.size(), 1u);
  const PlotLine& wide = above.panels[0].lines[1];
  EXPECT_EQ(wide.label, "width 128");
  EXPECT_NEAR(wide.points[1].y, 0, 1e-9);
  EXPECT_NEAR(wide.points[1].error, 0.01, 1e-9);
  EXPECT_THAT(above.panels[0].verticals, ::testing::ElementsAre(::testing::DoubleNear(std::exp2(-8), 1e-9)));
  EXPECT_EQ(above.y_limit, 1);
  EXPECT_EQ(above.x_ticks.size(), 5u);
  const Plot absolute = plot_of(found, OptimizerKind::kAdamW, LossScale::kAbsolute);
  EXPECT_NEAR(absolute.panels[0].lines[1].points[1].y, 1.81, 1e-9);
  EXPECT_NEAR(absolute.panels[0].lines[1].marks[0].y, 1.81, 1e-9);
  EXPECT_NEAR(absolute.y_limit, 3.01, 1e-9);
}

TEST_F(HandMadeSweep, DamagedLinesAreNamed) {
  write_file(folder_ / "sweep.jsonl", "{\"width\": 3}\n");
  EXPECT_THAT([&] { SweepDirectory(folder_.path()).read(); },
              ::testing::Throws<Error>(::testing::Property(&Error::what, HasSubstr("sweep.jsonl:1: no result"))));
}

TEST(SweepDirectory, GathersWhatRanksWrote) {
  const TemporaryFolder folder;
  const SweepDirectory sweep(folder.path());
  const SweepResult first{.run = {.width = 64, .lr = 0.1, .seed = 1}, .loss = 2.125, .steps = 3, .seconds = 0.5};
  const SweepResult second{.run = {.width = 128, .lr = 1e-3, .seed = 2}, .steps = 1};
  ResultWriter(sweep.results_of(1)).append(second);
  ResultWriter(sweep.results_of(0)).append(first);
  ResultWriter(sweep.results_of(0)).append(first);
  const std::vector<SweepResult> expected = {first, second};
  EXPECT_EQ(sweep.read(), expected);
  EXPECT_EQ(sweep.gather(), expected);
  EXPECT_THAT(names_in(folder.path()), ::testing::ElementsAre("sweep.jsonl"));
  EXPECT_EQ(sweep.read(), expected);
  ResultWriter(sweep.results_of(0)).append(first);
  write_file(sweep.results_of(3), R"({"parametr)");
  EXPECT_EQ(sweep.gather(), expected);
}

// Of a job that failed before it had trained anything.
TEST(SweepDirectory, ASweepWithoutRunsMayBeReplaced) {
  const TemporaryFolder folder;
  const SweepDirectory directory(folder / "sweep");
  directory.make();
  SweepConfig sweep, other;
  sweep.set_base_width(64);
  sweep.mutable_run()->mutable_model()->set_vocab_size(257);
  other = sweep;
  other.mutable_run()->mutable_train()->set_steps(7);
  const auto refused = ::testing::Throws<Error>(::testing::Property(&Error::what, HasSubstr("holds runs of another")));
  directory.write_config(sweep);
  ResultWriter(directory.results_of(0));
  directory.write_config(other);
  EXPECT_EQ(directory.read_config().run().train().steps(), 7);
  // An interrupted run is one, too.
  const SweepRun run{.width = 64, .lr = 0.1, .seed = 1};
  std::filesystem::create_directories(directory.folder_of(run));
  EXPECT_THAT([&] { directory.write_config(sweep); }, refused);
  directory.remove_folder_of(run);
  directory.write_config(sweep);
  ResultWriter(directory.results_of(0)).append({.run = run, .loss = 2});
  EXPECT_THAT([&] { directory.write_config(other); }, refused);
}

TEST(SweepDirectory, TheFirstRequestToStopCounts) {
  const TemporaryFolder folder;
  const SweepDirectory sweep(folder.path());
  EXPECT_FALSE(sweep.stop_requested());
  EXPECT_EQ(sweep.take_stop_request(), std::nullopt);
  sweep.request_stop("out of memory");
  sweep.request_stop("");
  EXPECT_TRUE(sweep.stop_requested());
  EXPECT_EQ(sweep.take_stop_request(), "out of memory");
  EXPECT_FALSE(sweep.stop_requested());
}

}  // namespace
}  // namespace mudelta::testing
