#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/transfer/sweep/sweep.pb.h"
#include "launch/transfer/widen.h"
#include "optim/optimizer_kind.h"

namespace mudelta {

// What tells one run of a sweep from another.
struct SweepRun {
  ParametrizationConfig::Kind parametrization = ParametrizationConfig::GDN_MUP;
  OptimizerKind optimizer = OptimizerKind::kAdamW;
  std::int64_t width = 0;
  double lr = 0;  // at the peak
  std::uint64_t seed = 0;
  std::vector<std::string> varied = {};  // "model.layers=4": an entry for each field that the sweep varies

  friend auto operator<=>(const SweepRun&, const SweepRun&) = default;
  std::string to_string() const;  // "GDN_MUP ADAMW width 64 lr 0.004 seed 1", and what is varied
};

// "model.layers=4 train.grad_clip=0"
std::string to_string(const std::vector<std::string>& varied);

// Throws Error on anything but a kind's name.
ParametrizationConfig::Kind parse_parametrization(std::string_view name);

// The sweep in a text file, changed by `overrides`, with run_config read and everything that is left out filled in:
// `run` resolved at the base width, every list written out and sorted. Throws Error naming the file or the field if any
// of its runs could not be started on groups of ranks_per_run ranks.
SweepConfig load_sweep(const std::filesystem::path& path, const std::vector<std::string>& overrides);

// The functions below take a sweep that load_sweep has completed.

// Throws Error unless results of `earlier` may stand beside those of `later`: but for the lists, which may change, the
// two must be the same. `where`: of the earlier one, for the message.
void require_same_runs(const SweepConfig& earlier, const SweepConfig& later, const std::filesystem::path& where);

// Every run once, widths outermost.
std::vector<SweepRun> runs_of(const SweepConfig& sweep);
RunConfig config_of(const SweepConfig& sweep, const SweepRun& run);
GrowthAxis axis_of(const SweepConfig& sweep);

// Floating-point operations of one run's training.
double cost_of(const RunConfig& config);

}  // namespace mudelta
