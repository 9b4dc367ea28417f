#include "launch/agreement.h"

#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include "dist/mpi.h"

namespace mudelta {

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

}  // namespace mudelta
