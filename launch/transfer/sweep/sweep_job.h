#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "launch/transfer/sweep/sweep_report.h"

namespace mudelta {

// A sweep as the command line asks for it.
struct SweepRequest {
  std::filesystem::path config;
  std::vector<std::string> overrides;  // of --set
  std::filesystem::path out;
  LossScale plot_scale = LossScale::kAboveBest;
};

// Trains every run that has no result in the folder yet, shared out among groups of ranks_per_run ranks; then writes
// the report. Rank 0 shows progress on stdout. A stop signal to any rank, or an error of a group, stops the sweep:
// every group writes a checkpoint of the run that it is at, from which the next job goes on. Collective over all ranks
// of the job, whose `out` must be the same folder; a rank that waits for another longer than
// run.parallel.timeout_seconds without a sign of life ends the job. Returns the exit code: 0, or 143 after a signal.
int run_sweep(const SweepRequest& request);

// Which of `num_groups` trains each run: the costliest first, each to the group that has the least to do.
std::vector<int> share_out(std::span<const double> costs, int num_groups);

}  // namespace mudelta
