#include "launch/agreement.h"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <sstream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "core/host_name.h"
#include "dist/mpi.h"
#include "launch/atomic_file.h"

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

}  // namespace

void run_or_fail_together(const ProcessGroup& group, const std::function<void()>& body) {
  std::string failure;  // empty: none
  try {
    body();
  } catch (const std::exception& error) {
    failure = *error.what() != '\0' ? error.what() : "an error without a message";
  }
  const std::vector<std::string> failures = group.all_gather(failure);
  const auto first = std::ranges::find_if(failures, [](const std::string& text) { return !text.empty(); });
  if (first == failures.end()) return;
  const bool all_alike = std::ranges::count(failures, *first) == group.size();
  const std::string message = all_alike ? *first : fmt::format("rank {}: {}", first - failures.begin(), *first);
  if (group.size() == rank_info().size) throw SharedError(message);
  throw Error(message);
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
