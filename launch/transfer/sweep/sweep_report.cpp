#include "launch/transfer/sweep/sweep_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/files/atomic_file.h"

namespace mudelta {
namespace {

using nlohmann::ordered_json;

std::string with_error(const std::optional<Estimate>& estimate, int digits, bool sign) {
  if (!estimate) return "-";
  if (!std::isfinite(estimate->value)) return "diverges";
  const std::string value =
      sign ? fmt::format("{:+.{}f}", estimate->value, digits) : fmt::format("{:.{}f}", estimate->value, digits);
  return estimate->error ? fmt::format("{} ± {:.{}f}", value, *estimate->error, digits) : value;
}

// A fitted loss so far (nats) below every loss that was seen rests on the parabola more than on the runs.
constexpr double kCoarse = 0.01;

double lowest_loss(const LossCurve& curve) { return std::ranges::min(curve.points(), {}, &CurvePoint::y).y; }

std::string_view note_of(const WidthReport& width) {
  if (!width.curve.best()) return "all diverged";
  switch (width.curve.best()->bracket) {
    case Bracket::kLowest: return "lowest lr tried";
    case Bracket::kHighest: return "highest lr tried";
    case Bracket::kInside: break;
  }
  if (lowest_loss(width.curve) - width.curve.best()->y > kCoarse) return "coarse grid";
  return "";
}

std::string row(const WidthReport& width) {
  const std::string lr = width.log2_lr ? fmt::format("{:.3g}", std::exp2(width.log2_lr->value)) : "-";
  return fmt::format("{:>6} {:>5} {:>9}  {:>9} {:>16} {:>16} {:>16} {:>18}  {}\n", width.width, width.runs,
                     width.diverged, lr, with_error(width.log2_lr, 2, true), with_error(width.drift, 2, true),
                     with_error(width.loss, 4, false), with_error(width.regret, 4, true), note_of(width));
}

// Regret at each width of the best lr of each narrower one: how wide must a proxy be?
std::string proxy_table(const SweepSeries& series) {
  if (series.widths.size() < 3) return "";  // the rows above have it
  std::string text = fmt::format("{:>18}", "regret of the lr of");
  for (const WidthReport& width : std::span(series.widths).subspan(1)) text += fmt::format("{:>18}", width.width);
  text += "\n";
  for (const WidthReport& proxy : std::span(series.widths).first(series.widths.size() - 1)) {
    text += fmt::format("{:>18}", proxy.width);
    for (const WidthReport& width : std::span(series.widths).subspan(1)) {
      const auto found = std::ranges::find(width.regrets, proxy.width, &ProxyRegret::proxy_width);
      text += fmt::format("{:>18}", found == width.regrets.end() ? "" : with_error(found->regret, 4, true));
    }
    text += "\n";
  }
  return text;
}

// The best losses of all settings of what is varied, a row each, at each width.
std::string table_of_settings(const SweepReport& report) {
  std::set<std::int64_t> widths;
  for (const SweepSeries& series : report.series) {
    if (series.varied.empty()) return "";
    for (const WidthReport& width : series.widths) widths.insert(width.width);
  }
  std::size_t room = std::string_view("best loss at width").size();
  for (const SweepSeries& series : report.series) room = std::max(room, title_of(series).size());
  std::string text = fmt::format("\n{:<{}}", "best loss at width", room);
  for (const std::int64_t width : widths) text += fmt::format("{:>18}", width);
  for (const SweepSeries& series : report.series) {
    text += fmt::format("\n{:<{}}", title_of(series), room);
    for (const std::int64_t width : widths) {
      const auto found = std::ranges::find(series.widths, width, &WidthReport::width);
      text += fmt::format("{:>18}", found == series.widths.end() ? "-" : with_error(found->loss, 4, false));
    }
  }
  return text + "\n";
}

ordered_json json_of(const std::optional<Estimate>& estimate) {
  if (!estimate) return nullptr;
  ordered_json json = {{"value", nullptr}, {"error", nullptr}};
  if (std::isfinite(estimate->value)) json["value"] = estimate->value;
  if (estimate->error) json["error"] = *estimate->error;
  return json;
}

ordered_json json_of(const WidthReport& width) {
  ordered_json points = ordered_json::array();
  for (const CurvePoint& point : width.curve.points()) {
    ordered_json entry = {{"lr", std::exp2(point.x)}, {"loss", nullptr}};
    if (std::isfinite(point.y)) entry["loss"] = point.y;
    if (width.seeds > 1) entry["error"] = width.standard_errors[points.size()];
    points.push_back(entry);
  }
  ordered_json json = {{"width", width.width},
                       {"runs", width.runs},
                       {"diverged", width.diverged},
                       {"seeds", width.seeds},
                       {"best_log2_lr", json_of(width.log2_lr)},
                       {"best_lr", nullptr},
                       {"drift", json_of(width.drift)},
                       {"loss", json_of(width.loss)},
                       {"regret", json_of(width.regret)},
                       {"regret_diverges", width.regret && !std::isfinite(width.regret->value)},
                       {"regret_by_proxy", ordered_json::object()},
                       {"note", note_of(width)},
                       {"mean_losses", points}};
  for (const ProxyRegret& cost : width.regrets) {
    json["regret_by_proxy"][std::to_string(cost.proxy_width)] = json_of(cost.regret);
  }
  if (width.log2_lr) json["best_lr"] = std::exp2(width.log2_lr->value);
  return json;
}

// Losses this far (nats) above the best are clipped.
constexpr double kShown = 1;
constexpr std::size_t kMaxTicks = 9;

PlotLine line_of(const WidthReport& width, LossScale scale) {
  PlotLine line{.label = fmt::format("width {}", width.width)};
  const double best = width.curve.best() ? width.curve.best()->y : 0, zero = scale == LossScale::kAbsolute ? 0 : best;
  for (std::size_t i = 0; i < width.curve.points().size(); ++i) {
    const CurvePoint& point = width.curve.points()[i];
    line.points.push_back({std::exp2(point.x), point.y - zero, width.standard_errors[i]});
  }
  if (width.curve.best()) {
    const double x = width.curve.best()->x, error = width.log2_lr->error.value_or(0);
    line.marks.push_back(
        {.x = std::exp2(x), .y = best - zero, .x_low = std::exp2(x - error), .x_high = std::exp2(x + error)});
  }
  return line;
}

// The learning rates of all panels, or some of them.
std::vector<double> ticks_of(const Plot& plot) {
  std::set<double> rates;
  for (const PlotPanel& panel : plot.panels) {
    for (const PlotLine& line : panel.lines) {
      for (const PlotPoint& point : line.points) rates.insert(point.x);
    }
  }
  const std::size_t step = (rates.size() + kMaxTicks - 1) / kMaxTicks;
  std::vector<double> ticks;
  for (std::size_t i = 0; const double rate : rates) {
    if (i++ % step == 0) ticks.push_back(rate);
  }
  return ticks;
}

}  // namespace

std::string to_text(const SweepReport& report) {
  std::string text = fmt::format(
      "Base width {}. Best lr: vertex of the parabola through the best three learning rates of the mean loss over\n"
      "seeds. ±: standard error, leaving out one seed at a time. Drift: of log2(best lr) from the base width.\n"
      "Regret: loss at the base width's best lr, less the best loss, both read off the fitted curve (nats per "
      "token).\n",
      report.base_width);
  for (const SweepSeries& series : report.series) {
    text += fmt::format("\n{}   (grid step {:.2f} in log2)\n", title_of(series), series.grid_step);
    text += fmt::format("{:>6} {:>5} {:>9}  {:>9} {:>16} {:>16} {:>16} {:>18}\n", "width", "runs", "diverged",
                        "best lr", "log2", "drift", "loss", "regret");
    for (const WidthReport& width : series.widths) text += row(width);
    text += proxy_table(series);
  }
  return text + table_of_settings(report);
}

std::string to_json(const SweepReport& report) {
  ordered_json series_list = ordered_json::array();
  for (const SweepSeries& series : report.series) {
    ordered_json widths = ordered_json::array();
    for (const WidthReport& width : series.widths) widths.push_back(json_of(width));
    series_list.push_back({{"parametrization", ParametrizationConfig::Kind_Name(series.parametrization)},
                           {"optimizer", name_of(series.optimizer)},
                           {"grid_step", series.grid_step},
                           {"widths", widths}});
    if (!series.varied.empty()) series_list.back()["varied"] = series.varied;
  }
  return ordered_json{{"base_width", report.base_width}, {"series", series_list}}.dump(2) + "\n";
}

Plot plot_of(const SweepReport& report, OptimizerKind optimizer, LossScale scale) {
  Plot plot{.title = fmt::format("Learning rate transfer, {}", title_of(optimizer)),
            .x_label = "peak learning rate",
            .y_label = scale == LossScale::kAbsolute ? "validation loss (nats per token)"
                                                     : "loss above the best of the width (nats per token)",
            .panels = {},
            .panel_width = 500,
            .panel_height = 400,
            .errors = ErrorStyle::kBar,
            .share_y = true,
            .y_limit = kShown,
            .mark_label = "best of the width ± standard error",
            .infinite_label = "diverged"};
  for (const SweepSeries& series : report.series) {
    if (series.optimizer != optimizer) continue;
    PlotPanel panel{.title = ParametrizationConfig::Kind_Name(series.parametrization), .lines = {}, .verticals = {}};
    if (!series.varied.empty()) panel.title += " " + to_string(series.varied);
    for (const WidthReport& width : series.widths) {
      panel.lines.push_back(line_of(width, scale));
      if (!width.curve.best()) continue;
      if (scale == LossScale::kAbsolute) plot.y_limit = std::max(plot.y_limit, width.curve.best()->y + kShown);
      if (width.width == report.base_width) panel.verticals.push_back(std::exp2(width.curve.best()->x));
    }
    if (!panel.verticals.empty()) plot.vertical_label = fmt::format("best lr of width {}", report.base_width);
    plot.panels.push_back(std::move(panel));
  }
  plot.x_ticks = ticks_of(plot);
  return plot;
}

std::string write_report(const SweepDirectory& folder, LossScale scale) {
  const SweepConfig sweep = folder.read_config();
  const std::vector<SweepResult> results = folder.read();
  require(!results.empty(), "{} has no finished run yet", folder.root().string());
  const SweepReport report = analyse(sweep.base_width(), results);
  const std::string text = to_text(report);
  write_file_atomically(folder.root() / "report.txt", text);
  write_file_atomically(folder.root() / "report.json", to_json(report));
  std::string said = text;
  std::set<OptimizerKind> optimizers;
  for (const SweepSeries& series : report.series) optimizers.insert(series.optimizer);
  for (const OptimizerKind optimizer : optimizers) {
    const std::string stem =
        fmt::format("{}-{}", scale == LossScale::kAbsolute ? "loss" : "transfer", field_of(optimizer));
    said += write_plot(plot_of(report, optimizer, scale), folder.root() / stem) + "\n";
  }
  return said;
}

}  // namespace mudelta
