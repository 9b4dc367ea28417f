#include "dist/traffic.h"

#include <algorithm>

#include "core/error.h"

namespace mudelta {

std::string_view name_of(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllReduce: return "all_reduce";
    case CollectiveKind::kReduceScatter: return "reduce_scatter";
    case CollectiveKind::kAllGather: return "all_gather";
    case CollectiveKind::kBroadcast: return "broadcast";
    case CollectiveKind::kAllToAll: return "all_to_all";
    case CollectiveKind::kSend: return "send";
    case CollectiveKind::kReceive: return "receive";
    case CollectiveKind::kHostValues: return "host values";
    case CollectiveKind::kBarrier: return "barrier";
  }
  fail("unknown kind of collective {}", static_cast<int>(kind));
}

void Traffic::add(std::string_view group, CollectiveKind kind, std::int64_t bytes) {
  auto entry = std::ranges::find_if(entries_, [&](const Entry& e) { return e.kind == kind && e.group == group; });
  if (entry == entries_.end()) entry = entries_.insert(entries_.end(), {std::string(group), kind});
  ++entry->calls;
  entry->bytes += bytes;
}

std::map<std::string, std::int64_t> Traffic::tensor_bytes_by_group() const {
  std::map<std::string, std::int64_t> bytes;
  for (const Entry& entry : entries_) {
    if (entry.kind != CollectiveKind::kHostValues && entry.bytes > 0) bytes[entry.group] += entry.bytes;
  }
  return bytes;
}

}  // namespace mudelta
