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

int exit_code_of(const Command& command, int argc, char** argv) {
  const RankInfo ranks = rank_info();
  try {
    require_alike(ProcessGroup::world(), "command line", lines_of_arguments(argc, argv));
    return command();
  } catch (const SharedError& error) {
    if (ranks.rank == 0) print_error(error.what());
    return kUserError;
  } catch (const std::exception& error) {
    leave_it_to_lower_ranks(ranks.rank);
    print_error(ranks.size == 1 ? error.what() : fmt::format("[rank {}] {}", ranks.rank, error.what()));
    // The system's errors (a full disk, say) are no mistakes of ours either.
    const bool is_ours =
        dynamic_cast<const Error*>(&error) == nullptr && dynamic_cast<const std::system_error*>(&error) == nullptr;
    const int code = is_ours ? kOtherError : kUserError;
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
