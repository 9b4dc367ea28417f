#include "dist/collective_check.h"

#include <glog/logging.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/profile_range.h"
#include "dist/mpi.h"
#include "dist/watchdog.h"

namespace mudelta {
namespace {

std::string file_name(const std::source_location& place) {
  const std::string path = place.file_name();
  return path.substr(path.rfind('/') + 1);
}

// What must be alike.
std::string text_of(const CollectiveCall& call) {
  return fmt::format("{}({}) at {}:{}", name_of(call.kind), call.arguments, file_name(call.place), call.place.line());
}

std::string where() {
  const std::string ranges = ProfileRange::open();
  return ranges.empty() ? "" : fmt::format(", in {}", ranges);
}

bool is_between_two(CollectiveKind kind) { return kind == CollectiveKind::kSend || kind == CollectiveKind::kReceive; }

}  // namespace

void CollectiveCheck::before(const ProcessGroup::Backend& group, const std::string& name, const CollectiveCall& call) {
  const std::int64_t number = ++calls_[&group];
  const std::string own = text_of(call);
  const std::string described = fmt::format("call {} of the {} group: {}{}", number, name, own, where());
  LOG(INFO) << described;
  if (is_between_two(call.kind)) return;

  const int limit = mpi_call_limit();
  if (!group.barrier_within(limit > 0 ? limit : std::numeric_limits<double>::infinity())) {
    // Each rank that waits tells, and leaves the others, who may wait for something else, the time for it.
    LOG(ERROR) << "rank " << rank_info().rank << " waits in vain in " << described;
    std::this_thread::sleep_for(std::chrono::seconds(1));
    fail("[check_collectives] rank {} has waited {} s for other ranks of its group in {}", rank_info().rank, limit,
         described);
  }
  const std::vector<std::string> calls = group.all_gather(own);
  if (std::ranges::all_of(calls, [&](const std::string& other) { return other == calls.front(); })) return;
  const std::vector<std::string> descriptions =
      group.all_gather(fmt::format("rank {}: {}", rank_info().rank, described));
  fail("[check_collectives] the ranks of a group make different calls: {}", fmt::join(descriptions, "; "));
}

}  // namespace mudelta
