#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launch/loss_curve.h"
#include "launch/plot.h"
#include "launch/sweep_results.h"

namespace mudelta {

// A number, and its standard error over seeds: each seed's own curve gives its own number, from two seeds on.
struct Estimate {
  double value = 0;
  std::optional<double> error;
};

// One width of a series. Curves are of the mean loss over seeds; an lr at which any seed diverged counts as diverged.
struct WidthReport {
  std::int64_t width = 0;
  int runs = 0, diverged = 0, seeds = 0;
  LossCurve curve{{}};
  std::optional<Estimate> log2_lr;  // best; none: every run diverged
  std::optional<Estimate> loss;     // there
  std::optional<Estimate> drift;    // of log2_lr from the base width's
  // Loss at the base width's best lr, less `loss`. Infinite: training diverges there.
  std::optional<Estimate> regret;
};

struct SweepSeries {
  ParametrizationConfig::Kind parametrization = ParametrizationConfig::SP;
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  double grid_step = 0;  // median distance of neighbouring learning rates, in log2
  std::vector<WidthReport> widths;
};

struct SweepReport {
  std::int64_t base_width = 0;
  std::vector<SweepSeries> series;  // by optimizer, then parametrization
};

SweepReport analyse(std::int64_t base_width, std::span<const SweepResult> results);

std::string to_text(const SweepReport& report);
std::string to_json(const SweepReport& report);
// Of one optimizer's series, a panel each: loss above the width's best, a line a width, optima marked.
Plot plot_of(const SweepReport& report, OptimizerKind optimizer);

// Analyses what is in a sweep's folder so far; writes report.txt, report.json and a plot per optimizer there.
// Returns what to print. Throws Error if there is no result yet.
std::string write_report(const SweepDirectory& folder);

}  // namespace mudelta
