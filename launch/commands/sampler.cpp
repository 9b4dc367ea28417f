#include "launch/commands/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/rng.h"

namespace mudelta {

void validate(const SamplingOptions& options) {
  require(options.temperature >= 0 && std::isfinite(options.temperature),
          "--temperature is {}, expected a number of at least 0", options.temperature);
  require(options.top_k >= 0, "--top-k is {}, expected at least 0", options.top_k);
  require(options.top_p > 0 && options.top_p <= 1, "--top-p is {}, expected a number above 0 and up to 1",
          options.top_p);
}

std::int32_t sample(std::span<const float> logits, const SamplingOptions& options, std::uint64_t index) {
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](std::int32_t a, std::int32_t b) { return logits[a] > logits[b]; });
  if (options.temperature == 0) return order.front();
  if (options.top_k > 0) order.resize(std::min(order.size(), static_cast<std::size_t>(options.top_k)));

  std::vector<double> weights;
  weights.reserve(order.size());
  for (const std::int32_t token : order) {
    weights.push_back(std::exp((static_cast<double>(logits[token]) - logits[order.front()]) / options.temperature));
  }
  double kept = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (options.top_p < 1) {
    const double wanted = options.top_p * kept;
    kept = 0;
    std::size_t count = 0;
    while (count < weights.size() && kept < wanted) kept += weights[count++];
    weights.resize(count);
  }

  const double draw = kept * CounterRng(options.seed, "sample").uniform(index);
  double reached = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    reached += weights[i];
    if (draw < reached) return order[i];
  }
  return order[weights.size() - 1];
}

}  // namespace mudelta
