// The main of test programs that run under mpirun: every rank runs every test, and a failure on any rank fails all.
// A fatal failure or an exception ends the whole job at once, since the other ranks may wait for this one.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <exception>
#include <optional>
#include <string>

#include "core/error.h"
#include "dist/mpi.h"
#include "dist/process_group.h"

namespace mudelta {
namespace {

class FailureReporter : public ::testing::EmptyTestEventListener {
 public:
  explicit FailureReporter(int rank) : rank_(rank) {}

  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    fmt::print(stderr, "[rank {}] {}:{}: {}\n", rank_, result.file_name() ? result.file_name() : "unknown file",
               result.line_number(), result.message());
    if (result.fatally_failed()) abort_job(1);
  }

 private:
  int rank_;
};

void require_promised_ranks(int size) {
  const char* promised = std::getenv("MUDELTA_TEST_RANKS");
  require(promised == nullptr || promised == std::to_string(size), "{} rank(s) started, {} promised", size,
          promised == nullptr ? "" : promised);
}

int run_tests(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  GTEST_FLAG_SET(catch_exceptions, false);
  const ProcessGroup world = ProcessGroup::world();
  require_promised_ranks(world.size());

  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  if (world.rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new FailureReporter(world.rank()));
  return static_cast<int>(world.all_reduce(RUN_ALL_TESTS(), ReduceOp::kMax));
}

}  // namespace
}  // namespace mudelta

int main(int argc, char** argv) {
  std::optional<mudelta::MpiSession> session;
  try {
    session.emplace(&argc, &argv);
    return mudelta::run_tests(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "[rank {}] {}\n", mudelta::rank_info().rank, error.what());
    mudelta::abort_job(1);
  }
}
