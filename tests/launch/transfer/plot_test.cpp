#include "launch/transfer/plot.h"

#include <gmock/gmock.h>

#include <cmath>

#include "launch/transfer/coord_check/coord_check_report.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string script_of(const Plot& plot) {
  const TemporaryFolder folder;
  write_plot(plot, folder / "plot");
  return read_file(folder / "plot.gnuplot");
}

TEST(Plot, WhatLiesBeyondTheScaleIsMarkedAndDoesNotStretchIt) {
  Plot plot{.panels = {{.title = "a", .lines = {{.label = "l", .points = {{1, 0}, {2, 0.5}, {4, 283181}}}}},
                       {.title = "b", .lines = {{.label = "l", .points = {{1, 0.25}, {2, INFINITY}}}}}},
            .share_y = true,
            .y_limit = 1,
            .infinite_label = "diverged"};
  EXPECT_THAT(script_of(plot),
              AllOf(HasSubstr("set yrange [-0.05:1.05]"), HasSubstr("at first 4, graph 0.975 point pt 9"),
                    HasSubstr("at first 2, graph 0.975 point pt 2"), HasSubstr("title 'above the scale'"),
                    HasSubstr("title 'diverged'")));
  plot.panels.pop_back();
  plot.panels[0].lines[0].points.pop_back();
  EXPECT_THAT(script_of(plot), AllOf(HasSubstr("set yrange [-0.025:0.525]"), Not(HasSubstr("graph 0.975")),
                                     Not(HasSubstr("above the scale"))));
}

TEST(CoordPlot, ShowsVerdictsAndWhatFailsFirst) {
  std::vector<CoordRecord> records;
  for (const std::int64_t width : {16, 32, 64}) {
    for (const auto& [kind, quantity, slope] : {std::tuple{CoordKind::kValue, "q", 0.0},
                                                {CoordKind::kValue, "k", 1.0},
                                                {CoordKind::kChange, "q", 0.0},
                                                {CoordKind::kChange, "k", 1.0}}) {
      for (const std::int64_t step : {0, 5}) {
        records.push_back({GrowthAxis::kHeads,
                           ParametrizationConfig::SP,
                           width,
                           1,
                           {kind, quantity, step, std::pow(static_cast<double>(width), slope)}});
      }
    }
  }
  const Plot plot = coord_plot(records, judge(records, 5, GrowthAxis::kHeads), "");
  ASSERT_EQ(plot.panels.size(), 3u);
  EXPECT_EQ(plot.panels[0].title, "at step 0 k: +1.00 ± 0.00 FAIL");
  EXPECT_EQ(plot.panels[1].title, "change of k: +1.00 ± 0.00 FAIL");
  EXPECT_EQ(plot.panels[2].title, "change of q: +0.00 ± 0.00 pass");
  EXPECT_EQ(plot.panels[0].lines.size(), 1u);  // step 0
  EXPECT_EQ(plot.panels[1].lines.size(), 2u);
  EXPECT_TRUE(plot.panels[1].alert);
  EXPECT_FALSE(plot.panels[2].alert);
}

}  // namespace
}  // namespace mudelta::testing
