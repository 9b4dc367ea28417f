#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launch/transfer/sweep/sweep_results.h"

namespace mudelta {

struct SweepDisplayOptions {
  int columns = 0;                       // of the terminal; 0: `out` is no terminal
  std::function<int()> measure_columns;  // what they are now, asked before each drawing; empty: they stay
  double seconds_between_redraws = 0.5;
  std::function<double()> clock;  // seconds from any start
};

// Shows how far a sweep is: on a terminal a live table (runs done, time left, the best loss so far at each width),
// elsewhere a line for each finished run. For one rank.
class SweepDisplay {
 public:
  // `costs`: of each run. The time left is judged by the cost of what is finished after construction and `start`.
  SweepDisplay(std::FILE* out, std::vector<SweepRun> runs, std::vector<double> costs, SweepDisplayOptions options);

  // Results that were there before. Prints nothing for them.
  void start(std::span<const SweepResult> results);
  // All results by now; those that are new are shown.
  void update(std::span<const SweepResult> results);
  // What this rank is doing. Cheap: draws only when it is time.
  void working(const std::string& what);
  void finish();

  std::size_t num_runs() const { return costs_.size(); }
  std::size_t num_done() const { return done_.size(); }

 private:
  using Series = std::pair<OptimizerKind, ParametrizationConfig::Kind>;

  bool add(const SweepResult& result);  // whether it is a run of the sweep, and new
  const SweepResult* best_of(const Series& series, std::int64_t width) const;
  std::string summary() const;  // "12/30 runs, 1:02 left"
  std::vector<std::string> table() const;
  void draw();

  std::FILE* out_;
  SweepDisplayOptions options_;
  std::map<SweepRun, double> costs_;
  std::set<Series> series_;
  std::set<std::int64_t> widths_;
  std::map<SweepRun, SweepResult> done_;
  std::string working_;
  double total_cost_ = 0, done_cost_ = 0, cost_at_start_ = 0;
  double start_, last_drawn_;
  std::size_t lines_drawn_ = 0;
};

}  // namespace mudelta
