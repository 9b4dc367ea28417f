#pragma once

#include <cstdint>

#include "optim/config.pb.h"

namespace mudelta {

// The final rate as a share of the peak, where neither ScheduleConfig.final_ratio nor final_lr is given.
constexpr double kDefaultFinalRatio = 0.1;

// The learning rate of step `step` (0-based) of a run of `total_steps` whose peak is `peak_lr`.
// LINEAR and COSINE are at the peak in the last step of the warm-up (in step 0 without one) and at the final rate in
// the last step of the run; WSD leaves the peak decay_steps before the end. Throws Error if the warm-up (or, for WSD,
// warm-up and decay together) is longer than the run.
double learning_rate(const ScheduleConfig& config, double peak_lr, std::int64_t step, std::int64_t total_steps);

// Throws Error, naming the field, its value and what was expected, on a schedule that a run of `total_steps` cannot
// have.
void validate(const ScheduleConfig& config, std::int64_t total_steps);

}  // namespace mudelta
