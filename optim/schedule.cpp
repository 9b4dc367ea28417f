#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/require_range.h"

namespace mudelta {
namespace {

void require_fits(const ScheduleConfig& config, std::int64_t step, std::int64_t total_steps) {
  require(0 <= step && step < total_steps, "[schedule] step {} of a run of {} steps", step, total_steps);
  require(config.warmup_steps() <= total_steps, "schedule.warmup_steps is {}, expected at most the run's {} steps",
          config.warmup_steps(), total_steps);
  require(config.kind() != ScheduleConfig::WSD || config.warmup_steps() + config.decay_steps() <= total_steps,
          "schedule.warmup_steps {} + schedule.decay_steps {} = {}, expected at most the run's {} steps",
          config.warmup_steps(), config.decay_steps(), config.warmup_steps() + config.decay_steps(), total_steps);
}

double final_rate(const ScheduleConfig& config, double peak_lr) {
  if (config.has_final_lr()) return config.final_lr();
  return peak_lr * (config.has_final_ratio() ? config.final_ratio() : kDefaultFinalRatio);
}

}  // namespace

double learning_rate(const ScheduleConfig& config, double peak_lr, std::int64_t step, std::int64_t total_steps) {
  require_fits(config, step, total_steps);
  const std::int64_t warmup = config.warmup_steps();
  if (step < warmup) return peak_lr * static_cast<double>(step + 1) / static_cast<double>(warmup);

  const double final_lr = final_rate(config, peak_lr);
  const std::int64_t last = total_steps - 1;
  // Share of the way from `start`, the last step at the peak, to the last step of the run.
  const auto progress = [&](std::int64_t start) {
    return step > start ? static_cast<double>(step - start) / static_cast<double>(last - start) : 0.0;
  };
  const std::int64_t peak_step = std::max<std::int64_t>(warmup - 1, 0);
  switch (config.kind()) {
    case ScheduleConfig::CONSTANT: return peak_lr;
    case ScheduleConfig::LINEAR: return std::lerp(peak_lr, final_lr, progress(peak_step));
    case ScheduleConfig::COSINE:
      return std::lerp(final_lr, peak_lr, 0.5 * (1 + std::cos(std::numbers::pi * progress(peak_step))));
    case ScheduleConfig::WSD: return std::lerp(peak_lr, final_lr, progress(last - config.decay_steps()));
  }
  fail("schedule.kind has the unknown value {}", static_cast<int>(config.kind()));
}

void validate(const ScheduleConfig& schedule, std::int64_t total_steps) {
  require_at_least("schedule.warmup_steps", schedule.warmup_steps(), 0);
  require_at_least("schedule.decay_steps", schedule.decay_steps(), 0);
  require(schedule.warmup_steps() <= total_steps, "schedule.warmup_steps is {}: expected at most train.steps, {}",
          schedule.warmup_steps(), total_steps);
  require(schedule.kind() != ScheduleConfig::WSD || schedule.decay_steps() <= total_steps - schedule.warmup_steps(),
          "schedule.decay_steps is {}: expected at most train.steps {} less schedule.warmup_steps {}",
          schedule.decay_steps(), total_steps, schedule.warmup_steps());
  if (schedule.has_final_ratio()) {
    require(schedule.final_ratio() >= 0 && schedule.final_ratio() <= 1,
            "schedule.final_ratio is {}: expected between 0 and 1", schedule.final_ratio());
  }
  if (schedule.has_final_lr()) require_not_negative("schedule.final_lr", schedule.final_lr());
}

}  // namespace mudelta
