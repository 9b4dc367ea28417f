#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace mudelta {

struct CurvePoint {
  double x = 0;  // log2 of the learning rate
  double y = 0;  // loss; infinite where training diverged
};

// Where the best learning rate lies among those that were tried.
enum class Bracket : std::uint8_t {
  kInside,   // between others that are worse, or that diverged
  kLowest,   // it is the lowest one: the optimum may lie below
  kHighest,  // it is the highest one: the optimum may lie above
};

struct Optimum {
  double x = 0;
  double y = 0;
  Bracket bracket = Bracket::kInside;
};

// Loss against log2 lr, through points on a grid that need not be even.
class LossCurve {
 public:
  // Any order; no two of the same x.
  explicit LossCurve(std::vector<CurvePoint> points);

  // The vertex of the parabola through the best point and its neighbours (at an end of the points that are finite, the
  // two next to it), kept between those neighbours and within the finite points. With fewer than three finite points,
  // or none of a valley's shape, the best point itself. Nothing if all points diverged.
  const std::optional<Optimum>& best() const { return best_; }

  // The curve at x: on that parabola where it was fitted; elsewhere between the points, the mean of the parabolas
  // through the neighbours on either side. Infinite if a point next to x diverged; nothing outside the points.
  std::optional<double> at(double x) const;

  const std::vector<CurvePoint>& points() const { return points_; }

 private:
  std::vector<CurvePoint> points_;  // sorted by x
  std::vector<CurvePoint> fitted_;  // the three points of the parabola, or none
  std::optional<Optimum> best_;
};

}  // namespace mudelta
