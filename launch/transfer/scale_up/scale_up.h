#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/transfer/sweep/sweep_analysis.h"

namespace mudelta {

// Which of a sweep's series to carry to a wide run. Left out: GDN_MUP if there is one, the only one otherwise; the only
// optimizer.
struct SeriesChoice {
  std::optional<ParametrizationConfig::Kind> parametrization;
  std::optional<OptimizerKind> optimizer;
};

// Throws Error, listing what there is, unless exactly one series fits.
const SweepSeries& choose_series(const SweepReport& report, const SeriesChoice& choice);

// The wide run: the sweep's run with the sizes and fields that `overrides` set (model.width among them; heads and
// head_dim as widen.h says), the best learning rate of the series at the base width, and the base model's sizes.
// Throws Error if the width is not given, if the series has no best learning rate at the base width, or on overrides
// that do not fit. Unless given, warm-up and decay take the share of the run's steps that they took of the sweep's.
RunConfig scale_up(const SweepConfig& sweep, const SweepReport& report, const SweepSeries& series,
                   const std::vector<std::string>& overrides);

// What a user should know of where the learning rate comes from: that it lies at the edge of the grid, what it costs at
// the sweep's other widths, what became of the warm-up, what the sweep did not vary. One line each.
std::vector<std::string> provenance(const SweepConfig& sweep, const SweepReport& report, const SweepSeries& series,
                                    const RunConfig& wide);

}  // namespace mudelta
