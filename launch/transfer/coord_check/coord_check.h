#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launch/transfer/widen.h"
#include "model/config.pb.h"
#include "optim/config.pb.h"

namespace mudelta {

// The coordinate check (docs/mup.md): how large each quantity of a model is in its first steps, size by size.
enum class CoordKind : std::uint8_t {
  kValue,     // an activation
  kChange,    // an activation's change since step 0
  kOwn,       // what one parameter's own change does: (W_t - W_0) x_t of a matrix, the change itself of a vector
  kGradient,  // of the last step, before clipping, over all parameters of a role
  kUpdate,    // what the last step added to all parameters of a role
};
std::string_view name_of(CoordKind kind);  // "value", "change", "own", "gradient", "update"

// Root mean square over the probe batch and all layers.
struct CoordMeasurement {
  CoordKind kind;
  std::string quantity;  // "z_a", "W_q", "HIDDEN"
  std::int64_t step;     // 0: before the first
  double rms;
};

struct CoordRecord {
  GrowthAxis axis;
  ParametrizationConfig::Kind parametrization;
  std::int64_t size;  // width, or layers
  std::uint64_t seed;
  CoordMeasurement measured;
};

// y = c x^slope.
struct PowerLaw {
  double slope;
  double uncertainty;  // standard error of the slope, from the scatter around the line
};

// Least squares in log y against log x, over three points or more with at least two different x. Slope NaN if any y is
// not a positive finite number.
PowerLaw fit_power_law(std::span<const std::pair<double, double>> points);

struct CoordVerdict {
  CoordKind kind;
  std::string quantity;
  std::int64_t step;
  PowerLaw law;
  std::optional<bool> passed;  // none where muP promises no slope: gradients and updates
};

// Of the records of one axis and parametrization: values are judged at step 0, changes and own contributions at
// `last_step`, where gradients and updates are fitted but not judged. A slope passes within 0.2 and twice its
// uncertainty of what muP promises: 0, except for a range between incoherent and coherent sums where that is all that
// can be said: logits at step 0 (width^-1/2 to 1), and, as head_dim grows, the state (head_dim^-1/2 to 1) and its
// readout o (1 to head_dim^1/2).
// As layers grow, with the exponent a of their multiplier: own contributions in blocks L^(a-1), of which L add up to an
// order of 1; changes in blocks between that and 1; the residual stream and its change between L^(1/2-a), a sum of
// independent terms, and 1. With a = 1 only these last are not 1. `depth_exponent` counts with GrowthAxis::kDepth.
std::vector<CoordVerdict> judge(std::span<const CoordRecord> records, std::int64_t last_step, GrowthAxis axis,
                                double depth_exponent = 1);

}  // namespace mudelta
