#include "launch/sweep_report.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "core/error.h"
#include "launch/atomic_file.h"

namespace mudelta {
namespace {

// Losses by seed and log2 lr; infinite: diverged.
using SeedLosses = std::map<std::uint64_t, std::map<double, double>>;
// A number of one seed's curve; nothing if that curve does not give it.
using SeedEstimate = std::function<std::optional<double>(std::uint64_t seed)>;

struct WidthLosses {
  SeedLosses seeds;
  std::map<std::uint64_t, LossCurve> curves;
};

LossCurve curve_of(const std::map<double, double>& losses) {
  std::vector<CurvePoint> points;
  for (const auto& [x, y] : losses) points.push_back({x, y});
  return LossCurve(std::move(points));
}

LossCurve mean_curve(const SeedLosses& seeds) {
  std::map<double, std::vector<double>> losses;
  for (const auto& [seed, of_seed] : seeds) {
    for (const auto& [x, y] : of_seed) losses[x].push_back(y);
  }
  std::map<double, double> means;
  for (const auto& [x, ys] : losses) {
    double sum = 0;
    for (const double y : ys) sum += y;
    means[x] = sum / static_cast<double>(ys.size());
  }
  return curve_of(means);
}

// Standard error of the mean of what the seeds give; nothing with fewer than two.
std::optional<double> error_over(const SeedLosses& seeds, const SeedEstimate& estimate) {
  std::vector<double> values;
  for (const auto& [seed, losses] : seeds) {
    const auto value = losses.size() < 3 ? std::nullopt : estimate(seed);
    if (value && std::isfinite(*value)) values.push_back(*value);
  }
  const auto n = static_cast<double>(values.size());
  if (n < 2) return std::nullopt;
  double mean = 0, squares = 0;
  for (const double value : values) mean += value / n;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / (n - 1) / n);
}

std::optional<double> drift(const LossCurve& base, const LossCurve& curve) {
  if (!base.best() || !curve.best()) return std::nullopt;
  return curve.best()->x - base.best()->x;
}

std::optional<double> regret(const LossCurve& base, const LossCurve& curve) {
  if (!base.best() || !curve.best()) return std::nullopt;
  const auto there = curve.at(base.best()->x);
  if (!there) return std::nullopt;
  return *there - curve.best()->y;
}

double median_step(const std::set<double>& xs) {
  std::vector<double> steps;
  for (auto x = xs.begin(); x != xs.end() && std::next(x) != xs.end(); ++x) steps.push_back(*std::next(x) - *x);
  if (steps.empty()) return 0;
  std::ranges::sort(steps);
  return steps[steps.size() / 2];
}

void add_estimates(const WidthLosses& losses, const WidthLosses* base, const WidthReport* base_report,
                   WidthReport& report) {
  const auto of_seed = [&](const auto& number) {
    return error_over(losses.seeds, [&](std::uint64_t seed) { return number(losses.curves.at(seed)); });
  };
  const auto against_base = [&](const auto& number) {
    return error_over(losses.seeds, [&](std::uint64_t seed) -> std::optional<double> {
      const auto of_base = base->curves.find(seed);
      if (of_base == base->curves.end()) return std::nullopt;
      return number(of_base->second, losses.curves.at(seed));
    });
  };
  using Number = std::optional<double>;
  if (!report.curve.best()) return;
  report.log2_lr = {report.curve.best()->x,
                    of_seed([](const LossCurve& c) { return c.best() ? Number(c.best()->x) : Number(); })};
  report.loss = {report.curve.best()->y,
                 of_seed([](const LossCurve& c) { return c.best() ? Number(c.best()->y) : Number(); })};
  if (base == nullptr) return;
  if (const auto value = drift(base_report->curve, report.curve)) report.drift = {*value, against_base(drift)};
  if (const auto value = regret(base_report->curve, report.curve)) report.regret = {*value, against_base(regret)};
}

SweepSeries analyse_series(std::int64_t base_width, const std::vector<SweepResult>& results) {
  SweepSeries series;
  series.parametrization = results.front().run.parametrization;
  series.optimizer = results.front().run.optimizer;
  std::map<std::int64_t, WidthLosses> widths;
  std::map<std::int64_t, WidthReport> reports;
  std::set<double> xs;
  for (const SweepResult& result : results) {
    const double x = std::log2(result.run.lr);
    xs.insert(x);
    widths[result.run.width].seeds[result.run.seed][x] = result.loss.value_or(std::numeric_limits<double>::infinity());
    WidthReport& report = reports[result.run.width];
    report.width = result.run.width;
    ++report.runs;
    if (!result.loss) ++report.diverged;
  }
  series.grid_step = median_step(xs);
  for (auto& [width, losses] : widths) {
    for (const auto& [seed, of_seed] : losses.seeds) losses.curves.emplace(seed, curve_of(of_seed));
    reports[width].seeds = static_cast<int>(losses.seeds.size());
    reports[width].curve = mean_curve(losses.seeds);
  }
  const auto base = widths.find(base_width);
  const bool has_base = base != widths.end();
  for (auto& [width, report] : reports) {
    add_estimates(widths[width], has_base ? &base->second : nullptr, has_base ? &reports[base_width] : nullptr, report);
  }
  for (auto& [width, report] : reports) series.widths.push_back(std::move(report));
  return series;
}

}  // namespace

SweepReport analyse(std::int64_t base_width, std::span<const SweepResult> results) {
  std::map<std::pair<OptimizerKind, ParametrizationConfig::Kind>, std::vector<SweepResult>> groups;
  for (const SweepResult& result : results) {
    groups[{result.run.optimizer, result.run.parametrization}].push_back(result);
  }
  SweepReport report{.base_width = base_width};
  for (const auto& [key, group] : groups) report.series.push_back(analyse_series(base_width, group));
  return report;
}

std::string write_report(const SweepDirectory& folder) {
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
    const char* stem = optimizer == OptimizerKind::kSgd ? "transfer-sgd" : "transfer-adamw";
    said += write_plot(plot_of(report, optimizer), folder.root() / stem) + "\n";
  }
  return said;
}

}  // namespace mudelta
