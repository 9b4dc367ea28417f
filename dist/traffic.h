#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mudelta {

// kHostValues: numbers and texts of the host, as ranks exchange to agree on something.
enum class CollectiveKind : std::uint8_t {
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast,
  kAllToAll,
  kSend,
  kReceive,
  kHostValues,
  kBarrier,
};
std::string_view name_of(CollectiveKind kind);  // "all_reduce"

// What this rank has sent so far, by group and kind of collective. In a group of n ranks with a whole of b bytes that
// is 2 b (n - 1) / n for all_reduce, b (n - 1) / n for reduce_scatter, all_gather, broadcast and all_to_all: what a
// ring sends. A transport that goes other ways may send more.
class Traffic {
 public:
  struct Entry {
    std::string group;
    CollectiveKind kind;
    std::int64_t calls = 0;
    std::int64_t bytes = 0;
  };

  void add(std::string_view group, CollectiveKind kind, std::int64_t bytes);
  const std::vector<Entry>& entries() const { return entries_; }
  // Of tensors: without kHostValues.
  std::map<std::string, std::int64_t> tensor_bytes_by_group() const;

 private:
  std::vector<Entry> entries_;
};

}  // namespace mudelta
