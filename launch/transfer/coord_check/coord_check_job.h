#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dist/process_group.h"
#include "launch/transfer/widen.h"
#include "optim/config.pb.h"
#include "optim/optimizer_kind.h"

namespace mudelta {

// A coordinate check as the command line asks for it.
struct CoordCheckRequest {
  std::filesystem::path config;
  std::vector<std::string> overrides;  // of --set
  std::filesystem::path data;          // empty: the configuration's data set, or else made-up text (made_up_text.h)
  std::filesystem::path out;
  bool force = false;                // `out` may hold results, which are written over
  std::vector<std::int64_t> widths;  // the first is the base
  std::vector<std::int64_t> layers;  // the same, of GrowthAxis::kDepth
  std::vector<std::int64_t> steps;   // after which to measure
  std::vector<GrowthAxis> axes;
  std::vector<ParametrizationConfig::Kind> parametrizations;
  std::optional<OptimizerKind> optimizer;  // instead of the configuration's
  int seeds = 3;
};

// Trains the first steps of the configured run at every size, with every seed and parametrization, on the CPU in
// float32, in the configured layout; rank 0 prints the table of slopes on stdout and writes coord-check.{txt,jsonl} and
// the plots to the folder `out`.
// Throws SharedError if `out` holds something. Returns the exit code: 1 if the only parametrization fails, or GDN_MUP
// among several; else 0. Collective over `world`, all ranks of the job.
int run_coord_check(const CoordCheckRequest& request, const ProcessGroup& world = ProcessGroup::world());

}  // namespace mudelta
