#include "launch/transfer/loss_curve.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace mudelta {
namespace {

using Points = std::span<const CurvePoint>;

// Newton's form: y = y0 + slope (x - x0) + curvature (x - x0)(x - x1).
struct Parabola {
  double x0, x1, y0, slope, curvature;

  explicit Parabola(Points p) : x0(p[0].x), x1(p[1].x), y0(p[0].y), slope((p[1].y - p[0].y) / (p[1].x - p[0].x)) {
    const double next_slope = (p[2].y - p[1].y) / (p[2].x - p[1].x);
    curvature = (next_slope - slope) / (p[2].x - p[0].x);
  }
  double operator()(double x) const { return y0 + slope * (x - x0) + curvature * (x - x0) * (x - x1); }
  double vertex() const { return (x0 + x1) / 2 - slope / (2 * curvature); }
};

bool is_finite(const CurvePoint& point) { return std::isfinite(point.y); }

bool all_finite(Points points) { return std::ranges::all_of(points, is_finite); }

}  // namespace

LossCurve::LossCurve(std::vector<CurvePoint> points) : points_(std::move(points)) {
  std::ranges::sort(points_, {}, &CurvePoint::x);
  CHECK(std::ranges::adjacent_find(points_, {}, &CurvePoint::x) == points_.end()) << "two points of the same x";
  for (CurvePoint& point : points_) {
    if (!is_finite(point)) point.y = std::numeric_limits<double>::infinity();
  }
  const auto lowest = std::ranges::min_element(points_, {}, &CurvePoint::y);
  if (lowest == points_.end() || !is_finite(*lowest)) return;

  best_ = {.x = lowest->x, .y = lowest->y};
  if (lowest == points_.begin()) best_->bracket = Bracket::kLowest;
  if (lowest + 1 == points_.end()) best_->bracket = Bracket::kHighest;

  // The finite points around the lowest, without a gap.
  auto begin = lowest, end = lowest + 1;
  while (begin != points_.begin() && is_finite(*(begin - 1))) --begin;
  while (end != points_.end() && is_finite(*end)) ++end;
  if (end - begin < 3) return;
  auto first = std::clamp(lowest - 1, begin, end - 3);
  const Points three(&*first, 3);
  const Parabola parabola(three);
  if (parabola.curvature <= 0) return;
  fitted_.assign(three.begin(), three.end());
  const double left = lowest == begin ? lowest->x : (lowest - 1)->x;
  const double right = lowest + 1 == end ? lowest->x : (lowest + 1)->x;
  best_->x = std::clamp(parabola.vertex(), left, right);
  best_->y = parabola(best_->x);
}

std::optional<double> LossCurve::at(double x) const {
  if (points_.empty() || x < points_.front().x || x > points_.back().x) return std::nullopt;
  if (!fitted_.empty() && x >= fitted_.front().x && x <= fitted_.back().x) return Parabola(fitted_)(x);
  const auto right = std::ranges::lower_bound(points_, x, {}, &CurvePoint::x);
  if (right->x == x) return right->y;
  const auto left = right - 1;
  if (!is_finite(*left) || !is_finite(*right)) return std::numeric_limits<double>::infinity();

  double sum = 0;
  int parabolas = 0;
  const auto add = [&](auto first) {
    const Points three(&*first, 3);
    if (!all_finite(three)) return;
    sum += Parabola(three)(x);
    ++parabolas;
  };
  if (left != points_.begin()) add(left - 1);
  if (points_.end() - right > 1) add(left);
  if (parabolas > 0) return sum / parabolas;
  return std::lerp(left->y, right->y, (x - left->x) / (right->x - left->x));
}

}  // namespace mudelta
