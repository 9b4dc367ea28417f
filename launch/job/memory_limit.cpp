#include "launch/job/memory_limit.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>

namespace mudelta {
namespace {

namespace fs = std::filesystem;

using Limit = std::optional<std::int64_t>;

Limit smaller(Limit a, Limit b) { return a && b ? std::min(*a, *b) : a ? a : b; }

// Nothing if there is no such file, or if it says "max".
Limit read_limit(const fs::path& file) {
  std::int64_t limit = 0;
  return std::ifstream(file) >> limit ? Limit(limit) : std::nullopt;
}

// Of the group called `group` ("/slurm/job_7") and of those around it. Seen from within a container, a group may be
// called as it is outside, and be found at `mount` itself.
Limit smallest_limit(const fs::path& mount, std::string_view group, const char* file) {
  Limit limit = read_limit(mount / file);
  fs::path folder = mount;
  for (const fs::path& part : fs::path(group).relative_path()) {
    folder /= part;
    limit = smaller(limit, read_limit(folder / file));
  }
  return limit;
}

}  // namespace

std::optional<std::int64_t> control_group_memory(const fs::path& root) {
  Limit limit;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "NUMBER:CONTROLLERS:GROUP"; version 2: "0::GROUP"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") limit = smaller(limit, smallest_limit(root / "sys/fs/cgroup", group, "memory.max"));
    if (controllers.find(",memory,") != std::string::npos) {
      limit = smaller(limit, smallest_limit(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
    }
  }
  return limit;
}

std::int64_t host_memory() {
  const std::int64_t physical = std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  return std::min(physical, control_group_memory().value_or(physical));
}

}  // namespace mudelta
