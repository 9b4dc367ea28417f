#pragma once

#include <cstdint>

#include "launch/config/config.pb.h"
#include "optim/parametrization.h"

namespace mudelta {

// The model that the run's hyperparameters were tuned on, at the run's depth: the run's model with the sizes that
// parametrization.base_* give (or imply), resolved. Without base_width these are the run's own. Throws Error if it
// cannot be built.
ModelConfig base_model(const RunConfig& config);

// How much wider the run's model (resolved) is than `base`, and how much deeper than parametrization.base_layers.
GrowthRatios growth_ratios(const ModelConfig& base, const RunConfig& config);

// The scaling rules of a run whose model is resolved.
Parametrization make_parametrization(const RunConfig& config);

// Of step `step` (0-based) of the run, before multipliers.
double learning_rate_of(const RunConfig& config, std::int64_t step);

}  // namespace mudelta
