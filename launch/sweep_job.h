#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "dist/mesh.h"
#include "launch/sweep_display.h"
#include "launch/sweep_results.h"

namespace mudelta {

// A sweep as the command line asks for it.
struct SweepRequest {
  std::filesystem::path config;
  std::vector<std::string> overrides;  // of --set
  std::filesystem::path out;
};

// Trains every run that has no result in the folder yet, shared out among groups of ranks_per_run ranks; then writes
// the report. Rank 0 shows progress on stdout. Collective over all ranks of the job, whose `out` must be the same
// folder. Returns the exit code.
int run_sweep(const SweepRequest& request);

// Which of `num_groups` trains each run: the costliest first, each to the group that has the least to do.
std::vector<int> share_out(std::span<const double> costs, int num_groups);

// Trains and evaluates one run; `step` is called after each step. Divergence is a result. Collective over the mesh.
SweepResult train_run(const SweepRun& run, const RunConfig& config, const Mesh& mesh, Device device,
                      const std::function<void(const std::string& status)>& step);

}  // namespace mudelta
