#include "launch/train/replica_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/files/checksum.h"
#include "core/host_name.h"

namespace mudelta {
namespace {

struct HeldParameter {
  std::string name, checksum;
};

std::string checksum_of(const Tensor& value) {
  const Tensor host = value.to(Device());
  return xxh64_of({host.raw(), static_cast<std::size_t>(host.num_bytes())});
}

std::string all_checksums(const std::vector<HeldParameter>& held) {
  std::string text;
  for (const HeldParameter& parameter : held) text += parameter.checksum;
  return text;
}

bool differ(const ProcessGroup& group, const std::string& text) {
  constexpr int kDigits = 12;  // 48 bits: a whole number that a double holds
  const std::string digest = xxh64_of(std::as_bytes(std::span(text))).substr(0, kDigits);
  const auto number = static_cast<double>(std::stoull(digest, nullptr, 16));
  const std::vector<double> extremes = group.all_reduce({number, -number}, ReduceOp::kMax);
  return extremes[0] != -extremes[1];
}

// What the ranks of a group that differ hold: which of them is unlike the others, in the first parameter that differs.
std::string describe(const ProcessGroup& group, const std::vector<HeldParameter>& held, const std::string& rank) {
  const std::vector<std::string> ranks = group.all_gather(rank);
  const std::vector<std::string> checksums = group.all_gather(all_checksums(held));
  for (std::size_t i = 0, at = 0; i < held.size(); at += held[i++].checksum.size()) {
    std::map<std::string, std::vector<std::string>> holders;
    for (std::size_t r = 0; r < ranks.size(); ++r) {
      holders[checksums[r].substr(at, held[i].checksum.size())].push_back(ranks[r]);
    }
    if (holders.size() == 1) continue;
    const auto most = std::ranges::max_element(holders, {}, [](const auto& entry) { return entry.second.size(); });
    if (2 * most->second.size() <= ranks.size()) {
      return fmt::format("{} differs among {}", held[i].name, fmt::join(ranks, ", "));
    }
    std::vector<std::string> odd;
    for (const auto& [checksum, names] : holders) {
      if (checksum != most->first) odd.insert(odd.end(), names.begin(), names.end());
    }
    return fmt::format("{} of {} is not what {} other ranks have", held[i].name, fmt::join(odd, ", "),
                       most->second.size());
  }
  return "";
}

}  // namespace

void check_replicas(const ParameterStore& store, const Mesh& mesh, std::int64_t step) {
  std::vector<HeldParameter> all, alike_in_tensor_group;
  for (const Parameter& parameter : store.parameters()) {
    all.push_back({parameter.spec.name, checksum_of(parameter.value)});
    if (parameter.part.copies == mesh.tensor().size()) alike_in_tensor_group.push_back(all.back());
  }
  const std::string rank = fmt::format("rank {} on {}", mesh.world().rank(), host_name());
  std::string difference;
  const auto compare = [&](const ProcessGroup& group, const std::vector<HeldParameter>& held) {
    if (differ(group, all_checksums(held)) && difference.empty()) difference = describe(group, held, rank);
  };
  compare(mesh.gradients(), all);
  compare(mesh.tensor(), alike_in_tensor_group);
  const bool is_damaged = mesh.world().all_reduce(difference.empty() ? 0.0 : 1.0, ReduceOp::kMax) > 0;
  if (!is_damaged) return;
  const std::vector<std::string> found = mesh.world().all_gather(difference);
  throw DamagedReplica(
      fmt::format("weights that should be the same differ before the update of step {}: {}; the memory or the links of "
                  "a machine are at fault, and nothing is saved: go on with --resume, without that host",
                  step, *std::ranges::find_if(found, [](const std::string& text) { return !text.empty(); })));
}

}  // namespace mudelta
