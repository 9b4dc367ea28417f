// Groups made by splitting, and the mesh. Run under mpirun with 1 to 4 ranks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "core/error.h"
#include "dist/mesh.h"
#include "dist/process_group.h"
#include "tests/support/compare.h"

// Stands before MPI's own function: counts the calls, and fails the job on one after MPI_Finalize.
static int num_freed = 0;
int MPI_Comm_free(MPI_Comm* comm) {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized) std::_Exit(3);
  ++num_freed;
  return PMPI_Comm_free(comm);
}

namespace mudelta {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const Stream kStream;

class Groups : public ::testing::Test {
 protected:
  const ProcessGroup world = ProcessGroup::world();
  const int rank = world.rank();
  const int size = world.size();
};

TEST_F(Groups, SplitByParity) {
  const ProcessGroup half = world.split(rank % 2, rank);
  EXPECT_EQ(half.size(), rank % 2 == 0 ? (size + 1) / 2 : size / 2);
  EXPECT_EQ(half.rank(), rank / 2);
  double expected = 0;
  for (int r = rank % 2; r < size; r += 2) expected += 10 + r;
  EXPECT_EQ(half.all_reduce(10.0 + rank, ReduceOp::kSum), expected);
  const Tensor x = Tensor::from(std::vector<float>{10.0f + static_cast<float>(rank), 1.0f}, {2});
  half.all_reduce(x, ReduceOp::kSum, kStream);
  EXPECT_EQ(x.data<float>()[0], expected);
  EXPECT_EQ(x.data<float>()[1], half.size());
}

TEST_F(Groups, TrafficIsCountedByGroupAndKind) {
  const ProcessGroup all = world.named("all"), half = world.split(rank % 2, rank).named("half");
  const std::int64_t others = size - 1, half_others = half.size() - 1;
  const Tensor part = Tensor::zeros({3}), whole = Tensor::zeros({3 * size}), other = Tensor::zeros({3 * size});
  all.all_gather(part, whole, kStream);
  all.all_gather(part, whole, kStream);
  all.reduce_scatter(whole, part, kStream);
  all.all_to_all(whole, other, kStream);
  all.all_reduce(whole, ReduceOp::kSum, kStream);
  half.all_reduce(Tensor::zeros({4 * half.size()}, DType::kFloat64), ReduceOp::kMax, kStream);
  all.all_reduce(std::vector<double>{1, 2}, ReduceOp::kSum);

  std::map<std::pair<std::string, CollectiveKind>, std::pair<std::int64_t, std::int64_t>> found;
  for (const Traffic::Entry& entry : world.traffic().entries()) {
    found[{entry.group, entry.kind}] = {entry.calls, entry.bytes};
  }
  using enum CollectiveKind;
  std::map<std::pair<std::string, CollectiveKind>, std::pair<std::int64_t, std::int64_t>> expected;
  if (size > 1) {
    expected = {{{"all", kAllGather}, {2, 2 * 12 * others}},
                {{"all", kReduceScatter}, {1, 12 * others}},
                {{"all", kAllToAll}, {1, 12 * others}},
                {{"all", kAllReduce}, {1, 2 * 12 * others}},
                {{"all", kHostValues}, {1, 16 * others}}};
  }
  if (half.size() > 1) expected[{"half", kAllReduce}] = {1, 2 * 32 * half_others};
  EXPECT_EQ(found, expected);
  std::map<std::string, std::int64_t> by_group;
  if (size > 1) by_group["all"] = 6 * 12 * others;
  if (half.size() > 1) by_group["half"] = 2 * 32 * half_others;
  EXPECT_EQ(all.traffic().tensor_bytes_by_group(), by_group);
  EXPECT_TRUE(ProcessGroup::world().traffic().entries().empty()) << "another world";
}

TEST_F(Groups, KeyOrdersRanks) {
  const ProcessGroup reversed = world.split(0, size - rank);
  EXPECT_EQ(reversed.size(), size);
  EXPECT_EQ(reversed.rank(), size - 1 - rank);
  const std::vector<std::string> ranks = reversed.all_gather(std::to_string(rank));
  for (int r = 0; r < size; ++r) EXPECT_EQ(ranks[r], std::to_string(size - 1 - r));
}

TEST_F(Groups, EqualKeysKeepTheOrder) { EXPECT_EQ(world.split(0, 0).rank(), rank); }

TEST_F(Groups, OneColorEachIsAlone) {
  const ProcessGroup alone = world.split(rank, 0);
  EXPECT_EQ(alone.size(), 1);
  EXPECT_EQ(alone.rank(), 0);
  EXPECT_EQ(alone.all_reduce(5.0 + rank, ReduceOp::kSum), 5.0 + rank);
}

TEST_F(Groups, SplitOfSplit) {
  const ProcessGroup lower = world.split(rank < 2 ? 0 : 1, rank);
  const ProcessGroup single = lower.split(lower.rank(), 0);
  EXPECT_EQ(single.size(), 1);
  const ProcessGroup again = lower.split(3, -lower.rank());
  EXPECT_EQ(again.size(), lower.size());
  EXPECT_EQ(again.rank(), lower.size() - 1 - lower.rank());
}

TEST_F(Groups, NegativeColorIsRefused) {
  EXPECT_THAT([&] { world.split(-1, 0); }, ThrowsMessage<Error>(HasSubstr("color is -1")));
}

TEST_F(Groups, MessagesStayInTheirGroup) {
  // The same collectives in flight order world, copy, world: a shared communicator would mix them up.
  const ProcessGroup copy = world.split(0, rank);
  EXPECT_EQ(world.all_reduce(1.0, ReduceOp::kSum), size);
  EXPECT_EQ(copy.all_reduce(2.0, ReduceOp::kSum), 2 * size);
  EXPECT_EQ(world.all_reduce(3.0, ReduceOp::kSum), 3 * size);
}

TEST_F(Groups, LastHandleFreesTheCommunicator) {
  std::optional<ProcessGroup> first = world.split(0, rank);
  std::optional<ProcessGroup> second = first;
  const int freed_before = num_freed;
  first.reset();
  EXPECT_EQ(num_freed, freed_before);
  EXPECT_EQ(second->all_reduce(1.0, ReduceOp::kSum), size);
  second.reset();
  EXPECT_EQ(num_freed, freed_before + (size > 1 ? 1 : 0));
}

TEST_F(Groups, WorldIsNeverFreed) {
  const int freed_before = num_freed;
  { const ProcessGroup other = ProcessGroup::world(); }
  EXPECT_EQ(num_freed, freed_before);
  EXPECT_EQ(world.all_reduce(1.0, ReduceOp::kSum), size);
}

ParallelConfig parallel(int context, int tensor) {
  ParallelConfig config;
  config.set_context(context);
  config.set_tensor(tensor);
  return config;
}

TEST_F(Groups, MeshOfDataOnly) {
  const Mesh mesh(world);
  EXPECT_EQ(mesh.world().size(), size);
  EXPECT_EQ(mesh.data().size(), size);
  EXPECT_EQ(mesh.data().rank(), rank);
  EXPECT_EQ(mesh.context().size(), 1);
  EXPECT_EQ(mesh.tensor().size(), 1);
  EXPECT_EQ(mesh.gradients().size(), size);
  EXPECT_EQ(mesh.data().all_reduce(1.0, ReduceOp::kSum), size);
  EXPECT_EQ(mesh.sizes().to_string(), std::to_string(size) + (size == 1 ? " rank = " : " ranks = ") +
                                          std::to_string(size) + " data x 1 context x 1 tensor");
}

TEST_F(Groups, TensorRanksAreNeighbours) {
  if (size % 2 != 0) return;  // an odd number of ranks has no pairs
  const Mesh mesh(world, parallel(1, 2));
  EXPECT_EQ(mesh.tensor().size(), 2);
  EXPECT_EQ(mesh.tensor().rank(), rank % 2);
  EXPECT_EQ(mesh.data().size(), size / 2);
  EXPECT_EQ(mesh.gradients().rank(), rank / 2);
  EXPECT_EQ(mesh.tensor().all_reduce(rank, ReduceOp::kSum), rank / 2 * 4 + 1);
}

TEST(MeshSizes, DataTakesWhatIsLeft) {
  const MeshSizes sizes = mesh_sizes(24, parallel(3, 2));
  EXPECT_EQ(sizes.data, 4);
  EXPECT_EQ(sizes.to_string(), "24 ranks = 4 data x 3 context x 2 tensor");
}

TEST_F(Groups, MeshNamesEveryFactorThatDoesNotFit) {
  EXPECT_THAT([&] { Mesh(world, parallel(5, 7)); },
              ThrowsMessage<Error>(AllOf(HasSubstr(std::to_string(size) + " ranks"), HasSubstr("parallel.context 5"),
                                         HasSubstr("parallel.tensor 7"), HasSubstr("= 35"))));
}

TEST_F(Groups, ContextRanksShareRowsAndParameters) {
  const Mesh mesh(world, parallel(size, 1));
  EXPECT_EQ(mesh.context().rank(), rank);
  EXPECT_EQ(mesh.data().size(), 1);
  EXPECT_EQ(mesh.gradients().size(), size);
  EXPECT_EQ(mesh.replica().size(), size);
}

TEST_F(Groups, EveryAxisHasItsGroups) {
  if (size != 4) return;
  const Mesh mesh(world, parallel(2, 2));
  EXPECT_EQ(mesh.context().size(), 2);
  EXPECT_EQ(mesh.context().rank(), rank / 2);
  EXPECT_EQ(mesh.context().all_reduce(rank, ReduceOp::kSum), 2 * (rank % 2) + 2);
  EXPECT_EQ(mesh.gradients().all_reduce(rank, ReduceOp::kSum), 2 * (rank % 2) + 2);
  EXPECT_EQ(mesh.replica().size(), 4);
  const Mesh with_data(world, parallel(2, 1));
  EXPECT_EQ(with_data.data().rank(), rank / 2);
  EXPECT_EQ(with_data.context().rank(), rank % 2);
  EXPECT_EQ(with_data.replica().all_reduce(rank, ReduceOp::kSum), rank / 2 * 4 + 1);
  EXPECT_EQ(with_data.gradients().rank(), rank);
}

TEST_F(Groups, MeshRefusesSizesBelowOne) {
  EXPECT_THAT([&] { Mesh(world, parallel(0, 1)); }, ThrowsMessage<Error>(HasSubstr("parallel.context is 0")));
  EXPECT_THAT([&] { Mesh(world, parallel(1, -2)); }, ThrowsMessage<Error>(HasSubstr("parallel.tensor is -2")));
}

// Its communicator is still open when MPI ends: it must not be freed then (MPI_Comm_free above checks it).
std::optional<ProcessGroup> outlives_mpi;

TEST_F(Groups, GroupMayOutliveMpi) {
  outlives_mpi = world.split(0, rank);
  EXPECT_EQ(outlives_mpi->size(), size);
}

}  // namespace
}  // namespace mudelta
