#include "launch/transfer/loss_curve.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/rng.h"

namespace mudelta {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Valley {
  double x, y, curvature;
  double operator()(double at) const { return y + curvature * (at - x) * (at - x); }
};

LossCurve sampled(const Valley& valley, std::initializer_list<double> xs) {
  std::vector<CurvePoint> points;
  for (const double x : xs) points.push_back({x, valley(x)});
  return LossCurve(points);
}

TEST(LossCurve, FindsTheVertexOnAnyGrid) {
  const Valley valley{-7.3, 2.5, 0.2};
  for (const LossCurve& curve :
       {sampled(valley, {-10, -9, -8, -7, -6}), sampled(valley, {-6, -8.5, -7.75, -7, -9.5})}) {
    ASSERT_TRUE(curve.best());
    EXPECT_NEAR(curve.best()->x, -7.3, 1e-12);
    EXPECT_NEAR(curve.best()->y, 2.5, 1e-12);
    EXPECT_EQ(curve.best()->bracket, Bracket::kInside);
    for (const double x : {-9.2, -8.1, -7.3, -6.4}) EXPECT_NEAR(*curve.at(x), valley(x), 1e-12) << x;
    EXPECT_FALSE(curve.at(-5.9));
    EXPECT_FALSE(curve.at(-10.1));
  }
}

TEST(LossCurve, NoiseMovesTheVertexLittle) {
  const CounterRng rng(1, "noise");
  const Valley valley{-7.4, 2.5, 0.2};
  for (std::uint64_t trial = 0; trial < 200; ++trial) {
    std::vector<CurvePoint> points;
    for (int i = 0; i < 6; ++i) {
      const double x = -10 + i, noise = static_cast<double>(rng.bits(trial * 8 + i) % 2001) / 1000 - 1;
      points.push_back({x, valley(x) + 0.005 * noise});
    }
    const LossCurve curve(points);
    // Each of the three points moves the vertex by at most noise / (2 curvature) or so.
    EXPECT_NEAR(curve.best()->x, -7.4, 0.05) << trial;
    EXPECT_NEAR(curve.best()->y, 2.5, 0.01) << trial;
  }
}

TEST(LossCurve, IsKeptWithinTheGrid) {
  const LossCurve below = sampled({-12, 2, 0.1}, {-10, -9, -8});
  EXPECT_EQ(below.best()->x, -10);
  EXPECT_NEAR(below.best()->y, 2.4, 1e-12);
  EXPECT_EQ(below.best()->bracket, Bracket::kLowest);
  const LossCurve above = sampled({-5, 2, 0.1}, {-10, -9, -8});
  EXPECT_EQ(above.best()->x, -8);
  EXPECT_EQ(above.best()->bracket, Bracket::kHighest);
  // Best at the edge of the grid, the vertex within it: the edge's neighbour bounds it.
  const LossCurve inside = sampled({-8.4, 2, 0.1}, {-10, -9, -8});
  EXPECT_NEAR(inside.best()->x, -8.4, 1e-12);
}

TEST(LossCurve, DivergedPointsBoundTheValley) {
  // -7 is the highest that trained: the vertex lies above it, where nothing is known.
  const LossCurve wall({{-10, 3.0}, {-9, 2.6}, {-8, 2.3}, {-7, 2.1}, {-6, kInfinity}, {-5, NAN}});
  EXPECT_EQ(wall.best()->x, -7);
  EXPECT_EQ(wall.best()->y, 2.1);
  EXPECT_EQ(wall.best()->bracket, Bracket::kInside);
  EXPECT_EQ(*wall.at(-6.5), kInfinity);
  EXPECT_EQ(*wall.at(-6), kInfinity);
  EXPECT_EQ(*wall.at(-5.5), kInfinity);
  // A point that diverged by accident: the valley on the best point's side of it counts.
  const Valley valley{-7.2, 2, 0.3};
  const LossCurve gap({{-11, valley(-11)}, {-10, kInfinity}, {-9, valley(-9)}, {-8, valley(-8)}, {-7, valley(-7)}});
  EXPECT_NEAR(gap.best()->x, -7.2, 1e-12);
}

TEST(LossCurve, FewOrFlatPoints) {
  EXPECT_FALSE(LossCurve({}).best());
  EXPECT_FALSE(LossCurve({}).at(0));
  EXPECT_FALSE(LossCurve({{-9, kInfinity}, {-8, kInfinity}}).best());
  const LossCurve two({{-9, 2.5}, {-8, 2.0}});
  EXPECT_EQ(two.best()->x, -8);
  EXPECT_EQ(*two.at(-8.5), 2.25);
  const LossCurve flat({{-9, 2.0}, {-8, 2.0}, {-7, 2.0}});
  EXPECT_EQ(flat.best()->y, 2.0);
  const LossCurve hill({{-9, 2.0}, {-8, 3.0}, {-7, 2.5}});
  EXPECT_EQ(hill.best()->x, -9);
  EXPECT_EQ(hill.best()->y, 2.0);
}

TEST(LossCurve, OutsideTheFitIsSmoothAndGoesThroughThePoints) {
  const LossCurve curve({{-12, 4}, {-11, 3}, {-10, 2.5}, {-9, 2.2}, {-8, 2.3}, {-7, 3.1}, {-6, 5}});
  for (const CurvePoint& point : curve.points()) EXPECT_NEAR(*curve.at(point.x), point.y, 1e-12);
  const double between = *curve.at(-11.5);
  EXPECT_GT(between, 3);
  EXPECT_LT(between, 3.5);  // below the chord, as the points bend upwards
}

}  // namespace
}  // namespace mudelta
