#include "launch/checkpoint/retention.h"

#include <fmt/format.h>

namespace mudelta {

KeepRules keep_rules(const CheckpointConfig& config) { return {.newest = config.keep(), .every = config.keep_every()}; }

std::string reason_to_keep(const KeepRules& rules, std::int64_t step, std::size_t num_newer) {
  if (rules.newest <= 0) return "all are kept";
  if (num_newer == 0) return "the newest";
  if (num_newer < static_cast<std::size_t>(rules.newest)) return fmt::format("among the {} newest", rules.newest);
  if (rules.every > 0 && step % rules.every == 0) return fmt::format("a multiple of {}", rules.every);
  return "";
}

}  // namespace mudelta
