#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "dist/process_group.h"

namespace mudelta {

// An Error that every rank of a group throws at the same point, the job's unless said otherwise: the job can end in
// good order and report it once. (After any other Error the job is aborted, as the other ranks may be waiting in a
// collective: launch/job/job.h.)
class SharedError : public Error {
 public:
  using Error::Error;
};

// Runs `body` on every rank; if it throws on any of them, every rank throws the same SharedError, made of the first
// failing rank's message, and its number unless all failed alike.
// Collective; `body` itself must not be, as it may fail alone.
void run_or_fail_together(const ProcessGroup& group, const std::function<void()>& body);

// The two halves of it, for ranks that tell each other more than whether they failed: what `body` throws (empty:
// nothing), and the SharedError, once it is known that some rank of the group has a `failure`. Collective.
std::string failure_of(const std::function<void()>& body);
[[noreturn]] void fail_together(const ProcessGroup& group, const std::string& failure);

// Runs `body`, which must not call MPI, on rank 0 of the job alone, while the other ranks wait, however long it takes:
// signs of life, from a thread of its own, tell them that rank 0 has not stopped (dist/watchdog.h). Every rank gets its
// result, or throws a SharedError with the message of what it threw. Collective over all ranks.
int run_on_first_rank(const std::function<int()>& body);

// Fails together, naming the rank, its host and the first line that differs, unless `text` is the same on every rank:
// the `thing` that each has read by itself, maybe from a disk of its host. Collective.
void require_alike(const ProcessGroup& group, std::string_view thing, const std::string& text);

// Fails together, naming the rank and its host, unless `folder`, which rank 0 can write to, is one folder for all.
// Collective.
void require_shared_folder(const ProcessGroup& group, const std::filesystem::path& folder);

}  // namespace mudelta
