// A process that no launcher started, and the parts of dist that need no MPI.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/error.h"
#include "dist/core_sharing.h"
#include "dist/mesh.h"
#include "dist/mpi.h"
#include "dist/mpi_counts.h"
#include "dist/mpi_runtime.h"
#include "dist/parameter_shards.h"
#include "dist/process_group.h"
#include "tests/support/compare.h"

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::ThrowsMessage;

const Stream kStream;

class Alone : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) unsetenv(name);
  }
};

TEST_F(Alone, SessionIsOneRankWithoutMpi) {
  const MpiSession session(nullptr, nullptr);
  EXPECT_FALSE(mpi_active());
  const RankInfo info = rank_info();
  EXPECT_EQ(info.rank, 0);
  EXPECT_EQ(info.size, 1);
  EXPECT_EQ(info.local_rank, 0);
  EXPECT_EQ(info.local_size, 1);
  EXPECT_EQ(ProcessGroup::world().size(), 1);
}

TEST_F(Alone, WorldUnderLauncherNeedsMpi) {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    setenv(name, "2", 1);
    EXPECT_THAT([] { ProcessGroup::world(); }, ThrowsMessage<Error>(HasSubstr("MPI is not initialised"))) << name;
    unsetenv(name);
  }
}

TEST_F(Alone, AbortExitsWithCode) { EXPECT_EXIT(abort_job(3), ::testing::ExitedWithCode(3), ""); }

TEST(GroupOfOne, ReductionsAreTheValueItself) {
  const ProcessGroup group = ProcessGroup::single();
  EXPECT_EQ(group.rank(), 0);
  EXPECT_EQ(group.size(), 1);
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3}, {3});
  const Tensor before = x.clone();
  group.all_reduce(x, ReduceOp::kSum, kStream);
  group.all_reduce(x, ReduceOp::kMax, kStream);
  group.broadcast(x, 0, kStream);
  group.barrier();
  EXPECT_TRUE(testing::same_bits(x, before));
  EXPECT_EQ(group.all_reduce(2.5, ReduceOp::kSum), 2.5);
  EXPECT_THAT(group.all_gather("me"), ElementsAre("me"));
  EXPECT_EQ(group.split(7, 0).size(), 1);
}

TEST(GroupOfOne, ExchangesCopy) {
  const ProcessGroup group = ProcessGroup::single();
  const Tensor input = Tensor::from(std::vector<float>{1, 2, 3, 4}, {2, 2});
  const auto copies = [&](auto&& collective) {
    const Tensor output = Tensor::zeros({4});
    collective(input, output);
    return testing::same_bits(output, input.view({4}));
  };
  EXPECT_TRUE(copies([&](auto& in, auto& out) { group.reduce_scatter(in, out, kStream); }));
  EXPECT_TRUE(copies([&](auto& in, auto& out) { group.all_gather(in, out, kStream); }));
  EXPECT_TRUE(copies([&](auto& in, auto& out) { group.all_to_all(in, out, kStream); }));
  const Tensor before = input.clone();
  group.reduce_scatter(input, input, kStream);
  group.all_gather(input, input, kStream);
  EXPECT_TRUE(testing::same_bits(input, before));
}

TEST(GroupOfOne, HasNoPeers) {
  const ProcessGroup group = ProcessGroup::single();
  const Tensor x = Tensor::zeros({1});
  EXPECT_THAT([&] { group.send(x, 0, kStream); }, ThrowsMessage<Error>(HasSubstr("[send] to is 0")));
  EXPECT_THAT([&] { group.receive(x, 1, kStream); }, ThrowsMessage<Error>(HasSubstr("[receive] from is 1")));
  EXPECT_THAT([&] { group.broadcast(x, 1, kStream); }, ThrowsMessage<Error>(HasSubstr("[broadcast] root is 1")));
}

TEST(GroupOfOne, ParameterShardsRefuseWrongShards) {
  ParameterStore store({{.name = "w", .shape = {3}}}, DType::kFloat32, {}, 2);
  EXPECT_THAT([&] { ParameterShards(store, ProcessGroup::single(), 1024); },
              ThrowsMessage<Error>(HasSubstr("2 shards, expected 1")));
}

TEST(GroupOfOne, ParameterShardsRefuseNoBytes) {
  ParameterStore store({{.name = "w", .shape = {3}}}, DType::kFloat32, {}, 1);
  EXPECT_THAT([&] { ParameterShards(store, ProcessGroup::single(), 0); },
              ThrowsMessage<Error>(HasSubstr("bucket_bytes is 0")));
}

TEST(MpiCounts, PiecesCoverTheRange) {
  std::vector<std::pair<std::int64_t, int>> pieces;
  const auto record = [&](std::int64_t begin, int count) { pieces.emplace_back(begin, count); };
  for_each_piece(0, 4, record);
  EXPECT_TRUE(pieces.empty());
  for_each_piece(9, 4, record);
  EXPECT_THAT(pieces, ElementsAre(Pair(0, 4), Pair(4, 4), Pair(8, 1)));
  pieces.clear();
  for_each_piece(kMaxMpiCount + 1, kMaxMpiCount, record);
  EXPECT_THAT(pieces, ElementsAre(Pair(0, std::numeric_limits<int>::max()), Pair(kMaxMpiCount, 1)));
}

TEST(MpiCounts, TooManyElementsAreRefused) {
  EXPECT_EQ(mpi_count(kMaxMpiCount, "all_gather"), std::numeric_limits<int>::max());
  EXPECT_THAT([] { mpi_count(kMaxMpiCount + 1, "all_gather"); },
              ThrowsMessage<Error>(HasSubstr("[all_gather] 2147483648 elements")));
}

CoreSet cores(std::initializer_list<int> numbers) {
  CoreSet set;
  for (const int number : numbers) set.set(static_cast<std::size_t>(number));
  return set;
}

TEST(CoreSharing, UnboundRanksShareTheHost) {
  const std::vector<CoreSet> two(2, cores({0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(fair_share_of_cores(two, 0), 4);
  const std::vector<CoreSet> three(3, cores({0, 1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(fair_share_of_cores(three, 2), 3);
}

TEST(CoreSharing, BoundRanksKeepTheirCores) {
  const std::vector<CoreSet> bound = {cores({0, 1}), cores({2, 3, 4})};
  EXPECT_EQ(fair_share_of_cores(bound, 0), 2);
  EXPECT_EQ(fair_share_of_cores(bound, 1), 3);
}

TEST(CoreSharing, NeverLessThanOne) {
  const std::vector<CoreSet> crowded(5, cores({0, 1}));
  EXPECT_EQ(fair_share_of_cores(crowded, 4), 1);
}

TEST(CoreSharing, ThisProcessHasACore) { EXPECT_GE(available_cores().count(), 1u); }

RC_GTEST_PROP(CoreSharing, RanksNeverTakeMoreThanThereIs, ()) {
  const auto masks =
      *rc::gen::nonEmpty(rc::gen::container<std::vector<std::uint16_t>>(rc::gen::nonZero<std::uint16_t>()));
  std::vector<CoreSet> ranks;
  CoreSet host;
  for (const std::uint16_t mask : masks) host |= ranks.emplace_back(mask);
  std::size_t taken = 0;
  std::size_t at_minimum = 0;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const int share = fair_share_of_cores(ranks, rank);
    RC_ASSERT(share >= 1 && static_cast<std::size_t>(share) <= ranks[rank].count());
    taken += static_cast<std::size_t>(share);
    at_minimum += share == 1;
  }
  RC_ASSERT(taken <= host.count() + at_minimum);
}

}  // namespace
}  // namespace mudelta
