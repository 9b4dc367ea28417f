#include "launch/job.h"

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "core/error.h"
#include "dist/mpi.h"
#include "launch/agreement.h"

namespace mudelta {
namespace {

constexpr int kUserError = 2;
constexpr int kOtherError = 1;

void print_error(std::string_view message) { fmt::print(stderr, "mudelta: error: {}\n", message); }

int exit_code_of(const Command& command) {
  const RankInfo ranks = rank_info();
  try {
    return command();
  } catch (const SharedError& error) {
    if (ranks.rank == 0) print_error(error.what());
    return kUserError;
  } catch (const std::exception& error) {
    print_error(ranks.size == 1 ? error.what() : fmt::format("[rank {}] {}", ranks.rank, error.what()));
    const int code = dynamic_cast<const Error*>(&error) != nullptr ? kUserError : kOtherError;
    if (ranks.size > 1) abort_job(code);
    return code;
  }
}

}  // namespace

int run_job(const Command& command, int argc, char** argv) {
  try {
    MpiSession mpi(&argc, &argv);
    return exit_code_of(command);
  } catch (const Error& error) {  // MPI did not start
    print_error(error.what());
    return kUserError;
  }
}

}  // namespace mudelta
