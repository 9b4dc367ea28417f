#include "launch/transfer/coord_check/coord_check.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace mudelta {
namespace {

constexpr double kTolerance = 0.2;
constexpr double kUncertainties = 2;

struct SlopeRange {
  double lowest = 0, highest = 0;
};

SlopeRange promise_over_depth(CoordKind kind, const std::string& quantity, double exponent) {
  const double in_block = exponent - 1;
  // A sum of independent terms; norms take out what that does to its size.
  if (quantity == "residual") return {0.5 - exponent, 0};
  switch (kind) {
    case CoordKind::kValue: return {};
    case CoordKind::kChange: return {quantity == "logits" ? 0 : in_block, 0};
    case CoordKind::kOwn:
      if (quantity == "embedding" || quantity == "readout") return {};
      if (quantity == "norm") return {-0.5, 0};  // the final norm is among them, one of 2 layers + 1
      return {in_block, in_block};
    default: return {};
  }
}

SlopeRange promise_over_width(CoordKind kind, const std::string& quantity, GrowthAxis axis) {
  if (kind == CoordKind::kValue && quantity == "logits") return {-0.5, 0};
  if (axis == GrowthAxis::kHeads || kind == CoordKind::kOwn) return {};
  if (quantity == "state") return {-0.5, 0};
  // Keys and queries of unit norm: k.q is of the order of head_dim^-1/2 while they are independent, of 1 once they are
  // not. The norm that follows takes out the difference.
  if (quantity == "o") return {0, 0.5};
  return {};
}

bool within(const PowerLaw& law, const SlopeRange& range) {
  const double tolerance = kTolerance + kUncertainties * law.uncertainty;
  return law.slope >= range.lowest - tolerance && law.slope <= range.highest + tolerance;
}

}  // namespace

std::string_view name_of(CoordKind kind) {
  switch (kind) {
    case CoordKind::kValue: return "value";
    case CoordKind::kChange: return "change";
    case CoordKind::kOwn: return "own";
    case CoordKind::kGradient: return "gradient";
    case CoordKind::kUpdate: return "update";
  }
  fail("[coord-check] unknown kind {}", static_cast<int>(kind));
}

PowerLaw fit_power_law(std::span<const std::pair<double, double>> points) {
  require(points.size() >= 3, "[coord-check] a slope with its uncertainty needs 3 points, there are {}", points.size());
  const auto count = static_cast<double>(points.size());
  double mean_x = 0, mean_y = 0;
  for (const auto& [x, y] : points) {
    if (!(y > 0) || !std::isfinite(y)) return {NAN, 0};
    mean_x += std::log(x) / count;
    mean_y += std::log(y) / count;
  }
  double xx = 0, xy = 0;
  for (const auto& [x, y] : points) {
    xx += (std::log(x) - mean_x) * (std::log(x) - mean_x);
    xy += (std::log(x) - mean_x) * (std::log(y) - mean_y);
  }
  const double slope = xy / xx;
  double residual = 0;
  for (const auto& [x, y] : points) {
    const double off = std::log(y) - mean_y - slope * (std::log(x) - mean_x);
    residual += off * off;
  }
  return {slope, std::sqrt(residual / (count - 2) / xx)};
}

std::vector<CoordVerdict> judge(std::span<const CoordRecord> records, std::int64_t last_step, GrowthAxis axis,
                                double depth_exponent) {
  std::vector<CoordVerdict> verdicts;
  std::vector<std::vector<std::pair<double, double>>> points;  // of each verdict
  for (const CoordRecord& record : records) {
    const CoordMeasurement& m = record.measured;
    if (m.step != (m.kind == CoordKind::kValue ? 0 : last_step)) continue;
    const auto found = std::ranges::find_if(
        verdicts, [&](const CoordVerdict& v) { return v.kind == m.kind && v.quantity == m.quantity; });
    const auto place = static_cast<std::size_t>(found - verdicts.begin());
    if (found == verdicts.end()) {
      verdicts.push_back({m.kind, m.quantity, m.step, {}, std::nullopt});
      points.emplace_back();
    }
    points[place].emplace_back(static_cast<double>(record.size), m.rms);
  }
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    CoordVerdict& verdict = verdicts[i];
    verdict.law = fit_power_law(points[i]);
    if (verdict.kind == CoordKind::kGradient || verdict.kind == CoordKind::kUpdate) continue;
    verdict.passed = within(verdict.law, axis == GrowthAxis::kDepth
                                             ? promise_over_depth(verdict.kind, verdict.quantity, depth_exponent)
                                             : promise_over_width(verdict.kind, verdict.quantity, axis));
  }
  std::ranges::stable_sort(verdicts, {}, &CoordVerdict::kind);
  return verdicts;
}

}  // namespace mudelta
