#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "launch/config/config.pb.h"

namespace mudelta {

// Which checkpoints of a run stay.
struct KeepRules {
  int newest = 0;          // so many of them; 0: all
  std::int64_t every = 0;  // those whose step is a multiple of it; 0: none
};

KeepRules keep_rules(const CheckpointConfig& config);

// Why the checkpoint of `step`, with `num_newer` newer ones in the run, stays: "all are kept", "the newest", "among the
// 3 newest", "a multiple of 1000"; empty: it does not. The newest of a run always stays.
std::string reason_to_keep(const KeepRules& rules, std::int64_t step, std::size_t num_newer);

}  // namespace mudelta
