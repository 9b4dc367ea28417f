#include "dist/collective_check.h"

#include <gmock/gmock.h>

#include "core/profile_range.h"
#include "dist/process_group.h"
#include "tests/support/errors.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;

const Stream kStream;

class CollectiveCheckTest : public ::testing::Test {
 protected:
  CollectiveCheckTest() { world.check_collectives(); }

  Tensor floats(std::int64_t numel) const { return Tensor::zeros({numel}); }

  const ProcessGroup world = ProcessGroup::world();
  const int size = world.size();
  const bool is_last = world.rank() == size - 1;
};

TEST_F(CollectiveCheckTest, LetsAgreeingCallsPass) {
  const ProcessGroup part = world.split(0, world.rank()).named("part");
  const Tensor x = Tensor::from(std::vector<float>{1, 2}, {2});
  part.all_reduce(x, ReduceOp::kSum, kStream);
  EXPECT_EQ(x.data<float>()[1], 2.0f * static_cast<float>(size));
  const Tensor all = floats(2 * size);
  part.all_gather(x, all, kStream);
  part.reduce_scatter(all, x, kStream);
  part.all_to_all(all, floats(2 * size), kStream);
  part.broadcast(x, size - 1, kStream);
  part.barrier();
  EXPECT_EQ(world.all_reduce(1.0, ReduceOp::kSum), size);
  EXPECT_EQ(world.all_gather(std::string(static_cast<std::size_t>(world.rank()), 'x')).back().size(), size - 1u);
  if (world.rank() == 0) world.send(x, 1, kStream);
  if (world.rank() == 1) world.receive(x, 0, kStream);
}

// Whoever differs, every rank is told of every rank's call.
TEST_F(CollectiveCheckTest, NamesRanksCallsAndPlaces) {
  const Tensor whole = floats(2 * size), part = floats(2);
  const ProcessGroup group = world.split(0, world.rank()).named("tensor");
  group.barrier();
  const std::string message = error_of([&] {
    const ProfileRange range("mixer forward");
    is_last ? group.reduce_scatter(whole, part, kStream) : group.all_gather(part, whole, kStream);
  });
  const std::string count = std::to_string(2 * size);
  EXPECT_THAT(message,
              AllOf(HasSubstr("the ranks of a group make different calls: rank 0: call 2 of the tensor group: "
                              "all_gather(" +
                              count + " float32) at collective_check_test.cpp:"),
                    HasSubstr("rank " + std::to_string(size - 1) + ": call 2 of the tensor group: reduce_scatter(" +
                              count + " float32) at collective_check_test.cpp:"),
                    HasSubstr(", in mixer forward")));
}

TEST_F(CollectiveCheckTest, SeesEveryDifference) {
  const auto expect_error = [&](const char* text, const std::function<void()>& call) {
    EXPECT_THAT(error_of(call), AllOf(HasSubstr("different calls"), HasSubstr(text)));
    world.barrier();  // they agree again
  };
  expect_error("all_reduce(4 float32, sum)",
               [&] { world.all_reduce(floats(is_last ? 4 : 3), ReduceOp::kSum, kStream); });
  expect_error("all_reduce(3 float32, max)",
               [&] { world.all_reduce(floats(3), is_last ? ReduceOp::kMax : ReduceOp::kSum, kStream); });
  expect_error("float64", [&] {
    world.all_reduce(Tensor::zeros({3}, is_last ? DType::kFloat64 : DType::kFloat32), ReduceOp::kSum, kStream);
  });
  expect_error("root 1", [&] { world.broadcast(floats(3), is_last ? 1 : 0, kStream); });
  expect_error("2 numbers", [&] { world.all_reduce(std::vector<double>(is_last ? 2 : 1), ReduceOp::kSum); });
  expect_error("float32", [&] {
    const Tensor x = floats(3);
    if (is_last) return world.all_reduce(x, ReduceOp::kSum, kStream);
    world.all_reduce(x, ReduceOp::kSum, kStream);  // from another line
  });
  if (size > 1) {
    expect_error("barrier()",
                 [&] { is_last ? world.barrier() : world.all_reduce(floats(0), ReduceOp::kSum, kStream); });
  }
}

}  // namespace
}  // namespace mudelta
