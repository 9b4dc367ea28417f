#include "launch/train/bad_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace mudelta {
namespace {

constexpr double kDeviationPerMedianDistance = 1.4826;
constexpr double kLeastSpread = 1e-3;  // of the median

double median_of(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

double robust_z_score(std::span<const double> window, double loss) {
  std::vector<double> values(window.begin(), window.end());
  const double median = median_of(values);
  for (double& value : values) value = std::abs(value - median);
  const double spread = std::max(kDeviationPerMedianDistance * median_of(values), kLeastSpread * std::abs(median));
  return (loss - median) / spread;
}

std::string fault_of_step(double loss, double gradient_norm, const TrainConfig& config, const TrainingState& state) {
  if (!std::isfinite(loss) || !std::isfinite(gradient_norm)) {
    return fmt::format("a loss or gradient that is not finite (loss {}, gradient norm {})", loss, gradient_norm);
  }
  const auto& window = state.recent_losses();
  if (config.spike_threshold() == 0 || window.size() < config.spike_window()) return "";
  const double z = robust_z_score({window.data(), static_cast<std::size_t>(window.size())}, loss);
  if (z < config.spike_threshold()) return "";
  return fmt::format("a loss spike (loss {}, {:.1f} robust standard deviations above the median of {} good steps)",
                     loss, z, window.size());
}

void note_good_loss(double loss, const TrainConfig& config, TrainingState& state) {
  auto& window = *state.mutable_recent_losses();
  if (config.spike_threshold() == 0) return window.Clear();
  window.Add(loss);
  const int superfluous = window.size() - static_cast<int>(config.spike_window());
  if (superfluous > 0) window.ExtractSubrange(0, superfluous, nullptr);
}

}  // namespace mudelta
