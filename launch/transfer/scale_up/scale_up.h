#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/transfer/sweep/sweep_analysis.h"

namespace mudelta {

// Which of a sweep's series to carry to a wide run. Left out: GDN_MUP if there is one, the only one otherwise; the only
// optimizer. Of settings of what the sweep varies, the best at the base width.
struct SeriesChoice {
  std::optional<ParametrizationConfig::Kind> parametrization;
  std::optional<OptimizerKind> optimizer;
};

// How the optimizer's settings follow the batch and the length of the run, with k of follow_noise() (optim/
// optimizer_kind.h).
enum class HorizonRule {
  kNone,       // not at all
  kSqrt,       // k = the growth of the tokens a step
  kTimescale,  // k = the growth of the tokens a step / that of the run's tokens: 1 / that of the steps
};
std::string_view name_of(HorizonRule rule);  // "NONE"

// Throws Error, listing what there is, unless exactly one series fits.
const SweepSeries& choose_series(const SweepReport& report, const SeriesChoice& choice);

struct ScaledRun {
  RunConfig config;
  // What a user should know of where its settings come from: that the learning rate lies at the edge of the grid, what
  // it costs at the sweep's other widths, what became of the warm-up, what the rule of the horizon changed and why,
  // what nothing carries. One line each.
  std::vector<std::string> notes;
};

// The large run: the sweep's run with the sizes and fields that `overrides` set (model.width or model.layers among
// them; heads and head_dim as widen.h says), the best learning rate of the series at the base width, the base model's
// sizes, and the optimizer's settings as `horizon` says. Throws Error if neither width nor layers are given, if the
// series has no best learning rate at the base width, or on overrides that do not fit. Unless given, warm-up and decay
// take the share of the run's steps that they took of the sweep's.
ScaledRun scale_up(const SweepConfig& sweep, const SweepReport& report, const SweepSeries& series,
                   const std::vector<std::string>& overrides, HorizonRule horizon);

}  // namespace mudelta
