#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launch/transfer/loss_curve.h"
#include "launch/transfer/sweep/sweep_results.h"

namespace mudelta {

// A number, and from two seeds on its standard error by the jackknife: how much the number changes as seeds are left
// out, one at a time. Of numbers that come from two widths, the widths' errors are taken to be independent.
struct Estimate {
  double value = 0;
  std::optional<double> error;
};

// What it costs to train with the best lr of a narrower width: loss at it, less the best loss. Infinite: training
// diverges there.
struct ProxyRegret {
  std::int64_t proxy_width = 0;
  Estimate regret;
};

// One width of a series. Curves are of the mean loss over seeds; an lr at which any seed diverged counts as diverged.
struct WidthReport {
  std::int64_t width = 0;
  int runs = 0, diverged = 0, seeds = 0;
  LossCurve curve{{}};
  std::vector<double> standard_errors;  // over seeds, of each of the curve's points; 0 with one seed
  std::optional<Estimate> log2_lr;      // best; none: every run diverged
  std::optional<Estimate> loss;         // there
  std::optional<Estimate> drift;        // of log2_lr from the base width's
  std::optional<Estimate> regret;       // of the base width's best lr
  std::vector<ProxyRegret> regrets;     // of all narrower widths that know it
};

struct SweepSeries {
  ParametrizationConfig::Kind parametrization = ParametrizationConfig::SP;
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  std::vector<std::string> varied;  // of SweepRun
  double grid_step = 0;             // median distance of neighbouring learning rates, in log2
  std::vector<WidthReport> widths;
};

// "GDN_MUP ADAMW model.layers=4"
std::string title_of(const SweepSeries& series);

struct SweepReport {
  std::int64_t base_width = 0;
  std::vector<SweepSeries> series;  // by optimizer, then parametrization, then what is varied
};

SweepReport analyse(std::int64_t base_width, std::span<const SweepResult> results);

}  // namespace mudelta
