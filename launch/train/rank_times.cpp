#include "launch/train/rank_times.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "core/host_name.h"

namespace mudelta {

std::string describe_rank_times(const ProcessGroup& world, double seconds) {
  constexpr std::size_t kNamed = 3;
  const std::vector<std::string> times = world.all_gather(fmt::format("{}", seconds));
  const std::vector<std::string> hosts = world.all_gather(host_name());
  std::vector<std::pair<double, std::size_t>> ranks;
  for (std::size_t rank = 0; rank < times.size(); ++rank) ranks.emplace_back(std::stod(times[rank]), rank);
  std::ranges::sort(ranks, std::greater());
  std::vector<std::string> slowest;
  for (std::size_t i = 0; i < std::min(kNamed, ranks.size()); ++i) {
    slowest.push_back(fmt::format("rank {} on {} {:.3f} s", ranks[i].second, hosts[ranks[i].second], ranks[i].first));
  }
  return fmt::format("ranks computed {:.3f} s (the median); slowest: {}", ranks[ranks.size() / 2].first,
                     fmt::join(slowest, ", "));
}

}  // namespace mudelta
