#include "launch/transfer/sweep/sweep_display.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "launch/job/progress.h"

namespace mudelta {
namespace {

constexpr int kMinBarColumns = 10;
constexpr int kMaxBarColumns = 30;
constexpr int kSeriesColumns = 16;
constexpr int kCellColumns = 18;

std::string cell(const SweepResult* result) {
  return result == nullptr ? "-" : fmt::format("{:.4f} @ {:.3g}", *result->loss, result->run.lr);
}

}  // namespace

SweepDisplay::SweepDisplay(std::FILE* out, std::vector<SweepRun> runs, std::vector<double> costs,
                           SweepDisplayOptions options)
    : out_(out), options_(std::move(options)), start_(options_.clock()), last_drawn_(-HUGE_VAL) {
  for (std::size_t i = 0; i < runs.size(); ++i) {
    costs_[runs[i]] = costs[i];
    total_cost_ += costs[i];
    series_.insert({runs[i].optimizer, runs[i].parametrization});
    widths_.insert(runs[i].width);
  }
}

bool SweepDisplay::add(const SweepResult& result) {
  const auto cost = costs_.find(result.run);
  if (cost == costs_.end() || !done_.emplace(result.run, result).second) return false;
  done_cost_ += cost->second;
  return true;
}

void SweepDisplay::start(std::span<const SweepResult> results) {
  for (const SweepResult& result : results) add(result);
  cost_at_start_ = done_cost_;
  if (options_.columns == 0) fmt::print(out_, "sweep  {}\n", summary());
  std::fflush(out_);
}

void SweepDisplay::update(std::span<const SweepResult> results) {
  for (const SweepResult& result : results) {
    if (!add(result) || options_.columns > 0) continue;
    const std::string loss = result.loss ? fmt::format("loss {:.4f}", *result.loss) : "diverged";
    fmt::print(out_, "{}: {} in {}; {}\n", result.run.to_string(), loss, format_duration(result.seconds), summary());
    std::fflush(out_);
  }
}

void SweepDisplay::working(const std::string& what) {
  working_ = what;
  if (options_.columns == 0 || options_.clock() - last_drawn_ < options_.seconds_between_redraws) return;
  draw();
}

void SweepDisplay::finish() {
  working_.clear();
  if (options_.columns > 0) draw();
}

std::string SweepDisplay::summary() const {
  std::string text = fmt::format("{}/{} runs", done_.size(), costs_.size());
  const double done_here = done_cost_ - cost_at_start_;
  if (done_here <= 0 || done_.size() == costs_.size()) return text;
  const double seconds_per_cost = (options_.clock() - start_) / done_here;
  return text + fmt::format(", {} left", format_duration(seconds_per_cost * (total_cost_ - done_cost_)));
}

const SweepResult* SweepDisplay::best_of(const Series& series, std::int64_t width) const {
  const SweepResult* best = nullptr;
  for (const auto& [run, result] : done_) {
    if (run.width != width || Series{run.optimizer, run.parametrization} != series || !result.loss) continue;
    if (best == nullptr || *result.loss < *best->loss) best = &result;
  }
  return best;
}

std::vector<std::string> SweepDisplay::table() const {
  std::vector<std::string> lines = {"sweep " + summary()};
  const int room = options_.columns - static_cast<int>(lines.front().size()) - 4;
  if (const int bar = std::min(room, kMaxBarColumns); bar >= kMinBarColumns) {
    const int filled = total_cost_ > 0 ? static_cast<int>(done_cost_ / total_cost_ * bar) : 0;
    lines.front() = fmt::format("sweep [{:#<{}}{:.<{}}] {}", "", filled, "", bar - filled, summary());
  }
  std::string header = fmt::format("{:<{}}", "best so far", kSeriesColumns);
  for (const std::int64_t width : widths_) header += fmt::format("{:>{}}", width, kCellColumns);
  lines.push_back(header);
  for (const Series& series : series_) {
    std::string row = fmt::format(
        "{:<{}}", fmt::format("{} {}", ParametrizationConfig::Kind_Name(series.second), name_of(series.first)),
        kSeriesColumns);
    for (const std::int64_t width : widths_) row += fmt::format("{:>{}}", cell(best_of(series, width)), kCellColumns);
    lines.push_back(row);
  }
  lines.push_back(working_);
  return lines;
}

void SweepDisplay::draw() {
  last_drawn_ = options_.clock();
  if (options_.measure_columns) options_.columns = std::max(options_.measure_columns(), 2);
  if (lines_drawn_ > 0) fmt::print(out_, "\x1b[{}A", lines_drawn_);
  const std::vector<std::string> lines = table();
  // The last column would wrap on some terminals.
  for (const std::string& line : lines) {
    fmt::print(out_, "\r\x1b[K{}\n", line.substr(0, static_cast<std::size_t>(options_.columns - 1)));
  }
  lines_drawn_ = lines.size();
  std::fflush(out_);
}

}  // namespace mudelta
