#pragma once

#include <bitset>
#include <cstddef>
#include <span>

namespace mudelta {

using CoreSet = std::bitset<1024>;

// Cores that this process may run on (its affinity mask).
CoreSet available_cores();

// Number of cores that rank `self` should use, at least 1: each core is divided evenly among the ranks of the host
// that may run on it. Ranks bound to cores of their own keep them all; ranks that are not bound share the host.
int fair_share_of_cores(std::span<const CoreSet> local_ranks, std::size_t self);

}  // namespace mudelta
