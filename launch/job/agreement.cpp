#include "launch/job/agreement.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <exception>
#include <mutex>
#include <sstream>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/files/atomic_file.h"
#include "core/host_name.h"

namespace mudelta {
namespace {

// The first lines in which two texts differ; an end is an empty line.
std::pair<std::string, std::string> first_difference(const std::string& a, const std::string& b) {
  std::istringstream lines_a(a), lines_b(b);
  std::pair<std::string, std::string> lines;
  do {
    if (!std::getline(lines_a, lines.first)) lines.first.clear();
    if (!std::getline(lines_b, lines.second)) lines.second.clear();
  } while (lines.first == lines.second && (lines_a || lines_b));
  return lines;
}

// The time between signs of life of rank 0: about as long as it has worked so far, that an end is not noticed late, up
// to a second.
class Pauses {
 public:
  std::chrono::milliseconds next() { return last_ = std::min(2 * last_, std::chrono::milliseconds(1000)); }

 private:
  std::chrono::milliseconds last_{1};
};

// A sign of life, on all ranks; whether it was the last.
bool exchange_sign(const ProcessGroup& world, bool is_last) {
  return world.all_reduce(is_last ? 1.0 : 0.0, ReduceOp::kMax) > 0;
}

void wait_for_first_rank(const ProcessGroup& world) {
  for (Pauses pauses; !exchange_sign(world, false);) std::this_thread::sleep_for(pauses.next());
}

// Until `end` is asked for. Signals stay with the thread that works.
void give_signs_of_life(const ProcessGroup& world, const std::stop_token& end) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any ended;
  try {
    for (Pauses pauses; !exchange_sign(world, end.stop_requested());) {
      ended.wait_for(lock, end, pauses.next(), [] { return false; });
    }
  } catch (const Error&) {  // of MPI; the thread that works meets it next
  }
}

}  // namespace

std::string failure_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& error) {
    return *error.what() != '\0' ? error.what() : "an error without a message";
  }
  return "";
}

void fail_together(const ProcessGroup& group, const std::string& failure) {
  const std::vector<std::string> failures = group.all_gather(failure);
  const auto first = std::ranges::find_if(failures, [](const std::string& text) { return !text.empty(); });
  const bool all_alike = std::ranges::count(failures, *first) == group.size();
  throw SharedError(all_alike ? *first : fmt::format("rank {}: {}", first - failures.begin(), *first));
}

void run_or_fail_together(const ProcessGroup& group, const std::function<void()>& body) {
  const std::string failure = failure_of(body);
  if (group.all_reduce(failure.empty() ? 0.0 : 1.0, ReduceOp::kMax) > 0) fail_together(group, failure);
}

int run_on_first_rank(const std::function<int()>& body) {
  const ProcessGroup world = ProcessGroup::world();
  std::string failure;
  int result = 0;
  if (world.rank() > 0) {
    wait_for_first_rank(world);
  } else if (world.size() > 1) {
    const std::jthread signs([&](const std::stop_token& end) { give_signs_of_life(world, end); });
    failure = failure_of([&] { result = body(); });
  } else {
    failure = failure_of([&] { result = body(); });
  }
  failure = world.all_gather(failure).front();
  if (!failure.empty()) throw SharedError(failure);
  return static_cast<int>(world.all_reduce(result, ReduceOp::kMax));
}

void require_alike(const ProcessGroup& group, std::string_view thing, const std::string& text) {
  const std::string expected = group.all_gather(text).front();
  run_or_fail_together(group, [&] {
    const auto [own, first] = first_difference(text, expected);
    require(text == expected, "the {} on {} has the line `{}`, expected `{}` as on rank 0", thing, host_name(), own,
            first);
  });
}

void require_shared_folder(const ProcessGroup& group, const std::filesystem::path& folder) {
  // A name that no host can have seen before, so that none answers from a cache.
  const std::string host = group.all_gather(host_name()).front();
  const std::string pid = group.all_gather(std::to_string(getpid())).front();
  const std::filesystem::path probe = folder / fmt::format(".tmp-shared-{}-{}", host, pid);
  run_or_fail_together(group, [&] {
    if (group.rank() == 0) write_file_atomically(probe, "");
  });
  std::error_code error;
  const bool seen = std::filesystem::exists(probe, error);
  group.barrier();
  if (group.rank() == 0) std::filesystem::remove(probe, error);
  run_or_fail_together(group, [&] {
    require(seen, "{} on {} is not the folder that rank 0 has on {}: expected one folder, shared by all hosts",
            folder.string(), host_name(), host);
  });
}

}  // namespace mudelta
