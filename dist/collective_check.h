#pragma once

#include <cstdint>
#include <map>
#include <source_location>
#include <string>

#include "dist/process_group_backend.h"
#include "dist/traffic.h"

namespace mudelta {

// A collective as one rank calls it; all ranks of the group must agree on it.
struct CollectiveCall {
  CollectiveKind kind;
  std::string arguments;  // "384 float32, sum"
  std::source_location place;
};

// Compares what the ranks of a group are about to do before each collective, in a debug mode:
// parallel.check_collectives. Calls are numbered in each group, and logged. Sends and receives are logged alone.
class CollectiveCheck {
 public:
  // Throws the same Error on every rank of the group unless all call the same thing from the same place, naming each
  // rank's call, its number and where it is; on the ranks that wait, after parallel.timeout_seconds, unless all come.
  // The group is of no further use then. Collective over `group`, called `name`.
  void before(const ProcessGroup::Backend& group, const std::string& name, const CollectiveCall& call);

 private:
  std::map<const ProcessGroup::Backend*, std::int64_t> calls_;  // so far
};

}  // namespace mudelta
