#pragma once

#include <string>

#include "launch/config/config.pb.h"

namespace mudelta {

// Table of what the scaling rules make of each class of parameters (those that differ by their layer only), then size,
// cost and memory on `data_ranks` ranks.
std::string describe_scaling(const RunConfig& config, int data_ranks);

}  // namespace mudelta
