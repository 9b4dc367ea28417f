#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mudelta {

// This host as its kernel describes it; "unknown" or 0 for what it does not say.
struct Machine {
  std::string cpu_model;
  std::vector<std::string> cpu_features;  // those that matter to the kernels, in /proc/cpuinfo's names
  int cores = 0;                          // logical ones that this process may use
  std::int64_t memory_bytes = 0;          // that it may use (launch/job/memory_limit.h)
};
Machine describe_machine();

}  // namespace mudelta
