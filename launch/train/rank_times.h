#pragma once

#include <string>

#include "dist/process_group.h"

namespace mudelta {

// Which ranks took longest: "ranks computed 0.101 s (the median); slowest: rank 3 on a 0.150 s, rank 0 on b 0.102 s".
// `seconds`: this rank's, without those in which it waited for others. Collective over `world`.
std::string describe_rank_times(const ProcessGroup& world, double seconds);

}  // namespace mudelta
