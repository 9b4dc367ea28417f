#pragma once

#include <cstdint>
#include <string>

#include "launch/transfer/plot.h"
#include "launch/transfer/sweep/sweep_analysis.h"
#include "launch/transfer/sweep/sweep_results.h"

namespace mudelta {

std::string to_text(const SweepReport& report);
std::string to_json(const SweepReport& report);

enum class LossScale : std::uint8_t {
  kAboveBest,  // less the best of the width
  kAbsolute,
};

// Of one optimizer's series, a panel each: loss against lr, a line a width with standard errors, optima and the base
// width's best lr marked. Losses far above the best are clipped.
Plot plot_of(const SweepReport& report, OptimizerKind optimizer, LossScale scale);

// Analyses what is in a sweep's folder so far; writes report.txt, report.json and a plot per optimizer there:
// transfer-OPTIMIZER, or loss-OPTIMIZER with absolute losses. Returns what to print. Throws Error if there is no result
// yet.
std::string write_report(const SweepDirectory& folder, LossScale scale);

}  // namespace mudelta
