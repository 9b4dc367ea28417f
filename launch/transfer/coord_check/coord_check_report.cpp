#include "launch/transfer/coord_check/coord_check_report.h"

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

std::string_view word(const CoordVerdict& verdict) { return !verdict.passed ? "" : failed(verdict) ? "FAIL" : "pass"; }

std::string name_of(const CoordVerdict& verdict) {
  return fmt::format("{} {}", heading(verdict.kind), verdict.quantity);
}

std::string cell(const CoordVerdict& verdict) {
  if (!std::isfinite(verdict.law.slope)) return fmt::format("   zero or not finite  {:<4}", word(verdict));
  return fmt::format("{:+10.2f} ± {:.2f}  {:<4}", verdict.law.slope, verdict.law.uncertainty, word(verdict));
}

// Mean and standard deviation over seeds, at one size.
PlotPoint point_of(double size, const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double mean = 0, square = 0;
  for (const double value : values) mean += value / count;
  for (const double value : values) square += (value - mean) * (value - mean);
  return {size, mean, values.size() > 1 ? std::sqrt(square / (count - 1)) : 0};
}

PlotPanel panel_of(std::span<const CoordRecord> records, const CoordVerdict& verdict) {
  std::map<std::int64_t, std::map<std::int64_t, std::vector<double>>> steps;  // step, size: the values of all seeds
  for (const CoordRecord& record : records) {
    const CoordMeasurement& m = record.measured;
    if (m.kind != verdict.kind || m.quantity != verdict.quantity) continue;
    if (m.kind == CoordKind::kValue && m.step != verdict.step) continue;
    steps[m.step][record.size].push_back(m.rms);
  }
  const std::string slope = std::isfinite(verdict.law.slope)
                                ? fmt::format("{:+.2f} ± {:.2f}", verdict.law.slope, verdict.law.uncertainty)
                                : "zero or not finite";
  PlotPanel panel{.title = fmt::format("{}: {} {}", name_of(verdict), slope, word(verdict)),
                  .lines = {},
                  .verticals = {},
                  .alert = failed(verdict)};
  for (const auto& [step, sizes] : steps) {
    PlotLine line{.label = fmt::format("step {}", step), .points = {}, .marks = {}};
    for (const auto& [size, values] : sizes) line.points.push_back(point_of(static_cast<double>(size), values));
    panel.lines.push_back(std::move(line));
  }
  return panel;
}

}  // namespace

bool passed(const CoordColumn& column) { return std::ranges::none_of(column.verdicts, failed); }

std::string name_of(GrowthAxis axis) {
  switch (axis) {
    case GrowthAxis::kHeadDim: return "head_dim";
    case GrowthAxis::kHeads: return "heads";
    case GrowthAxis::kDepth: return "depth";
  }
  return "";
}

std::string_view size_of(GrowthAxis axis) { return axis == GrowthAxis::kDepth ? "layers" : "width"; }

std::string coord_table(std::span<const CoordColumn> columns) {
  std::string table = fmt::format("{:<24}", "slope of log RMS");
  for (const CoordColumn& column : columns) {
    table += fmt::format("{:>24}", ParametrizationConfig::Kind_Name(column.parametrization));
  }
  table += '\n';
  // All columns have the same rows: the same quantities are measured.
  for (std::size_t row = 0; row < columns[0].verdicts.size(); ++row) {
    const CoordVerdict& first = columns[0].verdicts[row];
    table += fmt::format("{:<24}", name_of(first));
    for (const CoordColumn& column : columns) table += fmt::format("{:>24}", cell(column.verdicts[row]));
    table += '\n';
  }
  table += fmt::format("{:<24}", "");
  for (const CoordColumn& column : columns) {
    const auto failures = std::ranges::count_if(column.verdicts, failed);
    const bool expected = column.parametrization == ParametrizationConfig::SP;
    table += fmt::format("{:>24}",
                         failures == 0 ? "PASS" : fmt::format("FAIL: {}{}", failures, expected ? " (expected)" : ""));
  }
  return table + '\n';
}

std::string coord_json_line(const CoordRecord& record, const std::string& optimizer) {
  const CoordMeasurement& m = record.measured;
  const nlohmann::ordered_json line = {{"axis", name_of(record.axis)},
                                       {"optimizer", optimizer},
                                       {"parametrization", ParametrizationConfig::Kind_Name(record.parametrization)},
                                       {std::string(size_of(record.axis)), record.size},
                                       {"seed", record.seed},
                                       {"step", m.step},
                                       {"kind", name_of(m.kind)},
                                       {"quantity", m.quantity},
                                       {"rms", m.rms}};
  return line.dump() + '\n';
}

Plot coord_plot(std::span<const CoordRecord> records, std::span<const CoordVerdict> verdicts,
                const std::string& title) {
  Plot plot{.title = title,
            .x_label = records.empty() ? "" : std::string(size_of(records[0].axis)),
            .y_label = "RMS",
            .panels = {},
            .columns = 6,
            .x_ticks = {},
            .log_y = true};
  plot.panel_width = 280;  // of the longest title
  plot.infinite_label = "not finite";
  std::vector<CoordVerdict> shown(verdicts.begin(), verdicts.end());
  std::erase_if(shown, [](const CoordVerdict& v) { return v.kind == CoordKind::kValue && !failed(v); });
  std::ranges::stable_partition(shown, failed);
  for (const CoordVerdict& verdict : shown) plot.panels.push_back(panel_of(records, verdict));
  for (const CoordRecord& record : records) {
    const auto size = static_cast<double>(record.size);
    if (std::ranges::find(plot.x_ticks, size) == plot.x_ticks.end()) plot.x_ticks.push_back(size);
  }
  return plot;
}

}  // namespace mudelta
