#include "dist/core_sharing.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace mudelta {

CoreSet available_cores() {
  cpu_set_t mask;
  require(sched_getaffinity(0, sizeof(mask), &mask) == 0, "sched_getaffinity failed: {}", std::strerror(errno));
  CoreSet cores;
  for (std::size_t core = 0; core < cores.size(); ++core) cores[core] = CPU_ISSET(core, &mask);
  return cores;
}

int fair_share_of_cores(std::span<const CoreSet> local_ranks, std::size_t self) {
  double share = 0;
  for (std::size_t core = 0; core < CoreSet().size(); ++core) {
    if (!local_ranks[self][core]) continue;
    share += 1.0 / static_cast<double>(std::ranges::count_if(local_ranks, [&](const CoreSet& s) { return s[core]; }));
  }
  constexpr double kRounding = 1e-6;  // three thirds of a core are a whole one
  return std::max(1, static_cast<int>(share + kRounding));
}

}  // namespace mudelta
