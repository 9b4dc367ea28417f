#pragma once

#include <cstdint>

#include "optim/config.pb.h"

namespace mudelta {

// The learning rate of step `step` (0-based) of a run of `total_steps` whose peak is `peak_lr`. Throws Error if the
// warm-up (or, for WSD, warm-up and decay together) is longer than the run.
double learning_rate(const ScheduleConfig& config, double peak_lr, std::int64_t step, std::int64_t total_steps);

}  // namespace mudelta
