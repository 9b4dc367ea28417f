#include "launch/coord_check_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

namespace mudelta {
namespace {

std::string_view heading(CoordKind kind) {
  switch (kind) {
    case CoordKind::kValue: return "at step 0";
    case CoordKind::kChange: return "change of";
    case CoordKind::kOwn: return "own part of";
    case CoordKind::kGradient: return "gradient";
    case CoordKind::kUpdate: return "update";
  }
  return "";
}

bool failed(const CoordVerdict& verdict) { return verdict.passed == false; }

std::string cell(const CoordVerdict& verdict) {
  const std::string_view word = !verdict.passed ? "    " : failed(verdict) ? "FAIL" : "pass";
  if (!std::isfinite(verdict.law.slope)) return fmt::format("   zero or not finite  {}", word);
  return fmt::format("{:+10.2f} ± {:.2f}  {}", verdict.law.slope, verdict.law.uncertainty, word);
}

// Mean and standard deviation over seeds, at one width.
PlotPoint point_of(double width, const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double mean = 0, square = 0;
  for (const double value : values) mean += value / count;
  for (const double value : values) square += (value - mean) * (value - mean);
  return {width, mean, values.size() > 1 ? std::sqrt(square / (count - 1)) : 0};
}

}  // namespace

bool passed(const CoordColumn& column) { return std::ranges::none_of(column.verdicts, failed); }

std::string name_of(GrowthAxis axis) { return axis == GrowthAxis::kHeadDim ? "head_dim" : "heads"; }

std::string coord_table(std::span<const CoordColumn> columns) {
  std::string table = fmt::format("{:<24}", "slope of log RMS");
  for (const CoordColumn& column : columns) {
    table += fmt::format("{:>24}", ParametrizationConfig::Kind_Name(column.parametrization));
  }
  table += '\n';
  // All columns have the same rows: the same quantities are measured.
  for (std::size_t row = 0; row < columns[0].verdicts.size(); ++row) {
    const CoordVerdict& first = columns[0].verdicts[row];
    table += fmt::format("{:<24}", fmt::format("{} {}", heading(first.kind), first.quantity));
    for (const CoordColumn& column : columns) table += fmt::format("{:>24}", cell(column.verdicts[row]));
    table += '\n';
  }
  table += fmt::format("{:<24}", "");
  for (const CoordColumn& column : columns) {
    const auto failures = std::ranges::count_if(column.verdicts, failed);
    const bool expected = column.parametrization == ParametrizationConfig::SP;
    table +=
        fmt::format("{:>24}", failures == 0 ? "PASS" : fmt::format("FAIL: {}{}", failures, expected ? " (expected)" : ""));
  }
  return table + '\n';
}

std::string coord_json_line(const CoordRecord& record, const std::string& optimizer) {
  const CoordMeasurement& m = record.measured;
  const nlohmann::ordered_json line = {{"axis", name_of(record.axis)},
                                       {"optimizer", optimizer},
                                       {"parametrization", ParametrizationConfig::Kind_Name(record.parametrization)},
                                       {"width", record.width},
                                       {"seed", record.seed},
                                       {"step", m.step},
                                       {"kind", name_of(m.kind)},
                                       {"quantity", m.quantity},
                                       {"rms", m.rms}};
  return line.dump() + '\n';
}

Plot coord_plot(std::span<const CoordRecord> records, const std::string& title) {
  Plot plot{.title = title, .x_label = "width", .y_label = "RMS", .columns = 6, .log_y = true};
  // By panel, step and width, the values of all seeds.
  using Steps = std::map<std::int64_t, std::map<std::int64_t, std::vector<double>>>;
  std::vector<std::pair<std::string, Steps>> panels;
  for (const CoordRecord& record : records) {
    const CoordMeasurement& m = record.measured;
    if (m.kind == CoordKind::kValue) continue;
    const std::string name = fmt::format("{} {}", heading(m.kind), m.quantity);
    auto found = std::ranges::find(panels, name, &std::pair<std::string, Steps>::first);
    if (found == panels.end()) found = panels.insert(panels.end(), {name, {}});
    found->second[m.step][record.width].push_back(m.rms);
    const auto width = static_cast<double>(record.width);
    if (std::ranges::find(plot.x_ticks, width) == plot.x_ticks.end()) plot.x_ticks.push_back(width);
  }
  for (const auto& [name, steps] : panels) {
    PlotPanel panel{.title = name, .lines = {}};
    for (const auto& [step, widths] : steps) {
      PlotLine line{.label = fmt::format("step {}", step), .points = {}, .marks = {}};
      for (const auto& [width, values] : widths) line.points.push_back(point_of(static_cast<double>(width), values));
      panel.lines.push_back(std::move(line));
    }
    plot.panels.push_back(std::move(panel));
  }
  return plot;
}

}  // namespace mudelta
