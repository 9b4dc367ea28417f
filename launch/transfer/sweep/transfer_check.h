#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/transfer/sweep/sweep_analysis.h"

namespace mudelta {

// Whether the best learning rate of the base width is that of the widest one (docs/mup.md, "Acceptance").
struct TransferVerdict {
  std::int64_t base_width = 0, width = 0;  // the widest
  std::optional<Estimate> drift, regret;   // there
  std::vector<std::string> failures;       // one line each; none: accepted
};

// Accepted where the drift is within two standard errors of 0, these are below 1 together (else an optimum that moved
// by a factor of 2 would pass), and the regret is at most `max_regret` nats. Bounds are no measurements: fails, too,
// where an optimum lies at an end of the learning rates that trained, or there is one seed alone.
TransferVerdict judge_transfer(const SweepReport& report, const SweepSeries& series, double max_regret);

struct TransferCheckRequest {
  std::string folder;  // of the sweep
  // Left out: GDN_MUP, or the only one; all optimizers.
  std::optional<ParametrizationConfig::Kind> parametrization;
  std::optional<OptimizerKind> optimizer;
  double max_regret = 0.01;
};

struct TransferCheck {
  std::string text;  // a paragraph for each series of the sweep
  bool accepted = true;
};

// Judges the series that `request` names, and shows the others. A series with runs that are not finished is not
// accepted. Throws Error, naming the folder, if it holds no sweep, or none of the runs asked for.
TransferCheck check_transfer(const TransferCheckRequest& request);

}  // namespace mudelta
