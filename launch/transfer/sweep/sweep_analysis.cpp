#include "launch/transfer/sweep/sweep_analysis.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "core/error.h"

namespace mudelta {
namespace {

// Losses by seed and log2 lr; infinite: diverged.
using SeedLosses = std::map<std::uint64_t, std::map<double, double>>;
using Number = std::optional<double>;

// The curve of one width's mean loss over its seeds, and those with one seed left out.
struct Curves {
  LossCurve mean;
  std::vector<LossCurve> without;
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

// Of each point of mean_curve.
std::vector<double> standard_errors(const SeedLosses& seeds, const LossCurve& mean) {
  std::vector<double> errors;
  for (const CurvePoint& point : mean.points()) {
    double squares = 0, count = 0;
    for (const auto& [seed, of_seed] : seeds) {
      const auto loss = of_seed.find(point.x);
      if (loss == of_seed.end()) continue;
      squares += (loss->second - point.y) * (loss->second - point.y);
      ++count;
    }
    errors.push_back(count > 1 && std::isfinite(point.y) ? std::sqrt(squares / (count - 1) / count) : 0);
  }
  return errors;
}

Curves curves_of(const SeedLosses& seeds) {
  Curves curves{mean_curve(seeds), {}};
  if (seeds.size() < 2) return curves;
  for (const auto& [seed, losses] : seeds) {
    SeedLosses others = seeds;
    others.erase(seed);
    curves.without.push_back(mean_curve(others));
  }
  return curves;
}

// Variance of number(mean curve); nothing where a curve does not give it.
Number jackknife_variance(const Curves& curves, const std::function<Number(const LossCurve&)>& number) {
  std::vector<double> values;
  for (const LossCurve& curve : curves.without) {
    const Number value = number(curve);
    if (!value || !std::isfinite(*value)) return std::nullopt;
    values.push_back(*value);
  }
  const auto n = static_cast<double>(values.size());
  if (n < 2) return std::nullopt;
  double mean = 0, squares = 0;
  for (const double value : values) mean += value / n;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return squares * (n - 1) / n;
}

// number(curve); nothing if there is none.
std::optional<Estimate> estimate(const Curves& curves, Number (*number)(const LossCurve&)) {
  const Number value = number(curves.mean);
  if (!value) return std::nullopt;
  const Number variance = jackknife_variance(curves, number);
  return Estimate{*value, variance ? Number(std::sqrt(*variance)) : std::nullopt};
}

// number(curve of the proxy, curve of the target).
std::optional<Estimate> estimate(const Curves& proxy, const Curves& target,
                                 Number (*number)(const LossCurve&, const LossCurve&)) {
  const Number value = number(proxy.mean, target.mean);
  if (!value) return std::nullopt;
  if (&proxy == &target) return Estimate{*value, 0};
  const Number of_proxy = jackknife_variance(proxy, [&](const LossCurve& c) { return number(c, target.mean); });
  const Number of_target = jackknife_variance(target, [&](const LossCurve& c) { return number(proxy.mean, c); });
  return Estimate{*value, of_proxy && of_target ? Number(std::sqrt(*of_proxy + *of_target)) : std::nullopt};
}

Number best_x(const LossCurve& curve) { return curve.best() ? Number(curve.best()->x) : std::nullopt; }
Number best_y(const LossCurve& curve) { return curve.best() ? Number(curve.best()->y) : std::nullopt; }

Number drift(const LossCurve& proxy, const LossCurve& target) {
  if (!proxy.best() || !target.best()) return std::nullopt;
  return target.best()->x - proxy.best()->x;
}

Number regret(const LossCurve& proxy, const LossCurve& target) {
  if (!proxy.best() || !target.best()) return std::nullopt;
  const auto there = target.at(proxy.best()->x);
  if (!there) return std::nullopt;
  return *there - target.best()->y;
}

double median_step(const std::set<double>& xs) {
  std::vector<double> steps;
  for (auto x = xs.begin(); x != xs.end() && std::next(x) != xs.end(); ++x) steps.push_back(*std::next(x) - *x);
  if (steps.empty()) return 0;
  std::ranges::sort(steps);
  return steps[steps.size() / 2];
}

SweepSeries analyse_series(std::int64_t base_width, const std::vector<SweepResult>& results) {
  SweepSeries series;
  series.parametrization = results.front().run.parametrization;
  series.optimizer = results.front().run.optimizer;
  series.varied = results.front().run.varied;
  std::map<std::int64_t, SeedLosses> losses;
  std::map<std::int64_t, WidthReport> reports;
  std::set<double> xs;
  for (const SweepResult& result : results) {
    const double x = std::log2(result.run.lr);
    xs.insert(x);
    losses[result.run.width][result.run.seed][x] = result.loss.value_or(std::numeric_limits<double>::infinity());
    WidthReport& report = reports[result.run.width];
    report.width = result.run.width;
    ++report.runs;
    if (!result.loss) ++report.diverged;
  }
  series.grid_step = median_step(xs);
  std::map<std::int64_t, Curves> curves;
  for (const auto& [width, of_seeds] : losses) curves.emplace(width, curves_of(of_seeds));
  const auto base = curves.find(base_width);
  for (auto& [width, report] : reports) {
    const Curves& own = curves.at(width);
    report.seeds = static_cast<int>(losses[width].size());
    report.curve = own.mean;
    report.standard_errors = standard_errors(losses[width], own.mean);
    report.log2_lr = estimate(own, best_x);
    report.loss = estimate(own, best_y);
    for (auto proxy = curves.begin(); proxy->first < width; ++proxy) {
      if (const auto cost = estimate(proxy->second, own, regret)) report.regrets.push_back({proxy->first, *cost});
    }
    if (base != curves.end()) {
      report.drift = estimate(base->second, own, drift);
      report.regret = estimate(base->second, own, regret);
    }
    series.widths.push_back(std::move(report));
  }
  return series;
}

}  // namespace

std::string title_of(const SweepSeries& series) {
  return fmt::format("{} {}{}{}", ParametrizationConfig::Kind_Name(series.parametrization), name_of(series.optimizer),
                     series.varied.empty() ? "" : " ", to_string(series.varied));
}

SweepReport analyse(std::int64_t base_width, std::span<const SweepResult> results) {
  std::map<std::tuple<OptimizerKind, ParametrizationConfig::Kind, std::vector<std::string>>, std::vector<SweepResult>>
      groups;
  for (const SweepResult& result : results) {
    groups[{result.run.optimizer, result.run.parametrization, result.run.varied}].push_back(result);
  }
  SweepReport report{.base_width = base_width};
  for (const auto& [key, group] : groups) report.series.push_back(analyse_series(base_width, group));
  return report;
}

}  // namespace mudelta
