#include "launch/agreement.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace mudelta {
namespace {

template <class Body>
std::string shared_error_of(const Body& body) {
  try {
    run_or_fail_together(ProcessGroup::world(), body);
  } catch (const SharedError& error) {
    return error.what();
  }
  return "no error was thrown";
}

TEST(Agreement, WithoutFailureNothingIsThrown) {
  int calls = 0;
  run_or_fail_together(ProcessGroup::world(), [&] { ++calls; });
  EXPECT_EQ(calls, 1);
}

TEST(Agreement, AFailureOfOneRankIsOneOfAll) {
  const ProcessGroup world = ProcessGroup::world();
  const int last = world.size() - 1;
  const std::string error = shared_error_of([&] {
    if (world.rank() == last) fail("disk of rank {} is full", last);
  });
  EXPECT_EQ(error, fmt::format("{}disk of rank {} is full", last > 0 ? fmt::format("rank {}: ", last) : "", last));
  EXPECT_EQ(world.all_reduce(1.0, ReduceOp::kSum), world.size());  // the ranks are still in step
}

TEST(Agreement, AFailureOfAllRanksAlikeIsToldOnce) {
  EXPECT_EQ(shared_error_of([] { fail("no such field"); }), "no such field");
}

TEST(Agreement, OtherExceptionsAreFailuresToo) {
  EXPECT_EQ(shared_error_of([] { throw std::runtime_error(""); }), "an error without a message");
}

}  // namespace
}  // namespace mudelta
