#include "launch/job/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "core/error.h"
#include "dist/config.pb.h"
#include "dist/mpi.h"
#include "dist/watchdog.h"
#include "launch/job/agreement.h"
#include "launch/job/printable.h"

namespace mudelta {
namespace {

constexpr int kUserError = 2;
constexpr int kOtherError = 1;

void print_error(std::string_view message) { fmt::print(stderr, "mudelta: error: {}\n", printable(message)); }

// What follows the program's name, an argument a line.
std::string lines_of_arguments(int argc, char** argv) {
  std::string lines;
  for (int i = 1; i < argc; ++i) lines += fmt::format("{}\n", argv[i]);
  return lines;
}

// A failure that the ranks have not agreed on often comes on several of them at once. Of these the first ends the job
// before the others tell the same.
void leave_it_to_lower_ranks(int rank) {
  constexpr int kMaxSteps = 10;
  std::this_thread::sleep_for(std::chrono::milliseconds(200) * std::min(rank, kMaxSteps));
}

// Whether every rank has a failure of its own, the exception in flight, which then is told once. `failures` is for this
// alone: collectives of other groups may have been left half-way.
bool told_together(const ProcessGroup& failures) {
  constexpr double kSeconds = 2;
  const std::string failure = failure_of([] { throw; });
  if (failures.size() == 1 || !failures.barrier_within(kSeconds)) return false;
  try {
    fail_together(failures, failure);
  } catch (const SharedError& error) {
    if (failures.rank() == 0) print_error(error.what());
  }
  return true;
}

int exit_code_of(const Command& command, int argc, char** argv) {
  const RankInfo ranks = rank_info();
  const ProcessGroup world = ProcessGroup::world(), failures = world.split(0, world.rank());
  try {
    require_alike(world, "command line", lines_of_arguments(argc, argv));
    return command();
  } catch (const SharedError& error) {
    if (ranks.rank == 0) print_error(error.what());
    return kUserError;
  } catch (const std::exception& error) {
    // The system's errors (a full disk, say) are no mistakes of ours either.
    const bool is_ours =
        dynamic_cast<const Error*>(&error) == nullptr && dynamic_cast<const std::system_error*>(&error) == nullptr;
    const int code = is_ours ? kOtherError : kUserError;
    if (told_together(failures)) return code;
    leave_it_to_lower_ranks(ranks.rank);
    print_error(ranks.size == 1 ? error.what() : fmt::format("[rank {}] {}", ranks.rank, error.what()));
    if (ranks.size > 1) abort_job(code);
    return code;
  }
}

// `code`, unless all went well but for what was to be printed.
int code_with_output(int code) {
  errno = 0;
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (written || code != 0) return code;
  const std::string reason = errno != 0 ? fmt::format(": {}", std::strerror(errno)) : "";
  print_error(fmt::format("cannot write to the standard output{}", reason));
  return kUserError;
}

}  // namespace

int run_job(const Command& command, int argc, char** argv) {
  try {
    limit_mpi_calls(ParallelConfig::default_instance().timeout_seconds());
    MpiSession mpi(&argc, &argv);
    return code_with_output(exit_code_of(command, argc, argv));
  } catch (const Error& error) {  // MPI did not start
    print_error(error.what());
    return kUserError;
  }
}

}  // namespace mudelta
