#include "launch/job/machine.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string_view>

#include "dist/core_sharing.h"
#include "launch/job/memory_limit.h"

namespace mudelta {
namespace {

constexpr std::string_view kRelevantFeatures[] = {"avx2",        "fma",         "avx512f",  "avx512bw", "avx512vl",
                                                  "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16"};

// The value of the first line "KEY : value" of /proc/cpuinfo, "" if there is none.
std::string cpuinfo(std::string_view key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with(key) && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "";
}

}  // namespace

Machine describe_machine() {
  Machine machine;
  machine.cpu_model = cpuinfo("model name");
  if (machine.cpu_model.empty()) machine.cpu_model = "unknown";
  std::istringstream features(cpuinfo("flags"));
  for (std::string feature; features >> feature;) {
    if (std::ranges::count(kRelevantFeatures, feature) > 0) machine.cpu_features.push_back(feature);
  }
  machine.cores = static_cast<int>(available_cores().count());
  machine.memory_bytes = host_memory();
  return machine;
}

}  // namespace mudelta
