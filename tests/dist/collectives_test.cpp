// Every collective of the world group against results computed by hand. Run under mpirun with 1 to 4 ranks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "core/error.h"
#include "dist/mpi.h"
#include "dist/mpi_runtime.h"
#include "dist/process_group.h"
#include "tests/support/compare.h"

namespace mudelta {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const Stream kStream;

// A tensor of `numel` elements value(i): small integers, exact in every dtype, sums included.
template <class F>
Tensor filled(std::int64_t numel, DType dtype, F&& value) {
  if (dtype == DType::kInt32) {
    const Tensor tensor = Tensor::empty({numel}, dtype);
    for (std::int64_t i = 0; i < numel; ++i) tensor.data<std::int32_t>()[i] = static_cast<std::int32_t>(value(i));
    return tensor;
  }
  const Tensor tensor = Tensor::empty({numel});
  for (std::int64_t i = 0; i < numel; ++i) tensor.data<float>()[i] = static_cast<float>(value(i));
  return tensor.to(dtype);
}

struct Case {
  std::int64_t numel;
  DType dtype;
};

void PrintTo(const Case& c, std::ostream* out) { *out << name_of(c.dtype) << "[" << c.numel << "]"; }

class Collective : public ::testing::TestWithParam<Case> {
 protected:
  const ProcessGroup world = ProcessGroup::world();
  const int rank = world.rank();
  const int size = world.size();
  const std::int64_t n = GetParam().numel;
  const DType dtype = GetParam().dtype;
  const int rank_sum = size * (size + 1) / 2;  // 1 + ... + size
};

std::vector<Case> cases(std::initializer_list<DType> dtypes) {
  std::vector<Case> all;
  for (const DType dtype : dtypes) {
    for (const std::int64_t numel : {0, 1, 7, 64, 1001, 10'007}) all.push_back({numel, dtype});
  }
  return all;
}

class Reduction : public Collective {};
INSTANTIATE_TEST_SUITE_P(Sizes, Reduction, ::testing::ValuesIn(cases({DType::kFloat32, DType::kInt32})));

TEST_P(Reduction, AllReduceSums) {
  const Tensor x = filled(n, dtype, [&](std::int64_t i) { return (rank + 1) * (i % 97); });
  world.all_reduce(x, ReduceOp::kSum, kStream);
  EXPECT_TRUE(testing::same_bits(x, filled(n, dtype, [&](std::int64_t i) { return rank_sum * (i % 97); })));
}

TEST_P(Reduction, AllReduceTakesTheGreatest) {
  const auto value = [&](int r, std::int64_t i) { return (i + r) % size * 10 - 7; };  // the greatest differs by element
  const Tensor x = filled(n, dtype, [&](std::int64_t i) { return value(rank, i); });
  world.all_reduce(x, ReduceOp::kMax, kStream);
  EXPECT_TRUE(testing::same_bits(x, filled(n, dtype, [&](std::int64_t) { return (size - 1) * 10 - 7; })));
}

class Scatter : public Collective {};
INSTANTIATE_TEST_SUITE_P(Sizes, Scatter, ::testing::ValuesIn(cases({DType::kFloat32, DType::kBFloat16})));

// Small whole numbers, which bfloat16 has exactly.
TEST_P(Scatter, AllReduceSums) {
  const Tensor x = filled(n, dtype, [&](std::int64_t i) { return (rank + 1) * (i % 25); });
  world.all_reduce(x, ReduceOp::kSum, kStream);
  EXPECT_TRUE(testing::same_bits(x, filled(n, dtype, [&](std::int64_t i) { return rank_sum * (i % 25); })));
}

TEST_P(Scatter, ReduceScatterSumsThisRanksPart) {
  const auto input = [&] { return filled(size * n, dtype, [&](std::int64_t i) { return (rank + 1) * (i % 25); }); };
  const Tensor expected = filled(n, dtype, [&](std::int64_t i) { return rank_sum * ((rank * n + i) % 25); });

  const Tensor apart = Tensor::zeros({n}, dtype);
  const Tensor whole = input();
  world.reduce_scatter(whole, apart, kStream);
  EXPECT_TRUE(testing::same_bits(apart, expected));
  EXPECT_TRUE(testing::same_bits(whole, input())) << "the input is only read";

  const Tensor own_part = whole.slice(rank * n, (rank + 1) * n);
  world.reduce_scatter(whole, own_part, kStream);
  EXPECT_TRUE(testing::same_bits(own_part, expected));
}

class Exchange : public Collective {};
INSTANTIATE_TEST_SUITE_P(Sizes, Exchange,
                         ::testing::ValuesIn(cases({DType::kFloat32, DType::kBFloat16, DType::kInt32})));

TEST_P(Exchange, AllGatherJoinsParts) {
  const auto value = [&](std::int64_t r, std::int64_t i) { return 30 * r + i % 29; };
  const Tensor expected = filled(size * n, dtype, [&](std::int64_t i) { return value(i / n, i % n); });
  const Tensor part = filled(n, dtype, [&](std::int64_t i) { return value(rank, i); });

  const Tensor apart = Tensor::zeros({size * n}, dtype);
  world.all_gather(part, apart, kStream);
  EXPECT_TRUE(testing::same_bits(apart, expected));

  const Tensor whole = Tensor::zeros({size * n}, dtype);
  const Tensor own_part = whole.slice(rank * n, (rank + 1) * n);
  own_part.copy_from(part);
  world.all_gather(own_part, whole, kStream);
  EXPECT_TRUE(testing::same_bits(whole, expected));
}

TEST_P(Exchange, BroadcastFromEveryRoot) {
  for (int root = 0; root < size; ++root) {
    const Tensor x = filled(n, dtype, [&](std::int64_t i) { return 30 * rank + i % 29; });
    world.broadcast(x, root, kStream);
    EXPECT_TRUE(testing::same_bits(x, filled(n, dtype, [&](std::int64_t i) { return 30 * root + i % 29; })));
  }
}

TEST_P(Exchange, AllToAllTransposesParts) {
  const auto value = [&](std::int64_t from, std::int64_t to, std::int64_t i) { return 50 * from + 11 * to + i % 7; };
  const Tensor input = filled(size * n, dtype, [&](std::int64_t i) { return value(rank, i / n, i % n); });
  const Tensor output = Tensor::zeros({size * n}, dtype);
  world.all_to_all(input, output, kStream);
  EXPECT_TRUE(
      testing::same_bits(output, filled(size * n, dtype, [&](std::int64_t i) { return value(i / n, rank, i % n); })));
}

TEST_P(Exchange, SendsGoRoundTheRing) {
  if (size == 1) return;  // no peer
  const int next = (rank + 1) % size, previous = (rank + size - 1) % size;
  const Tensor mine = filled(n, dtype, [&](std::int64_t i) { return 30 * rank + i % 29; });
  const Tensor theirs = Tensor::zeros({n}, dtype);
  if (rank == 0) world.send(mine, next, kStream);
  world.receive(theirs, previous, kStream);
  if (rank != 0) world.send(mine, next, kStream);
  EXPECT_TRUE(testing::same_bits(theirs, filled(n, dtype, [&](std::int64_t i) { return 30 * previous + i % 29; })));
}

class World : public ::testing::Test {
 protected:
  const ProcessGroup world = ProcessGroup::world();
  const int rank = world.rank();
  const int size = world.size();
};

TEST_F(World, IsWhatRankInfoSays) {
  const RankInfo info = rank_info();
  EXPECT_EQ(info.rank, rank);
  EXPECT_EQ(info.size, size);
  EXPECT_EQ(info.local_rank, rank);  // the tests' mpirun uses one host
  EXPECT_EQ(info.local_size, size);
  EXPECT_TRUE(mpi_active());
}

TEST_F(World, ReducesHostValues) {
  EXPECT_EQ(world.all_reduce(rank + 0.5, ReduceOp::kSum), size * (size - 1) / 2 + 0.5 * size);
  EXPECT_EQ(world.all_reduce(-rank - 1.0, ReduceOp::kMax), -1.0);
  const double own = std::pow(0.1, rank), other = rank == size - 1 ? 7.5 : -rank;
  for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
    const std::vector<double> expected = {world.all_reduce(own, op), world.all_reduce(other, op)};
    EXPECT_EQ(world.all_reduce(std::vector{own, other}, op), expected);
  }
  EXPECT_TRUE(world.all_reduce(std::vector<double>(), ReduceOp::kSum).empty());
}

TEST_F(World, NaNAndInfinityOnOneRankReachAll) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (int bad = 0; bad < size; ++bad) {
    EXPECT_TRUE(std::isnan(world.all_reduce(rank == bad ? nan : 1.0, ReduceOp::kSum)));
    EXPECT_TRUE(std::isnan(world.all_reduce(rank == bad ? nan : infinity, ReduceOp::kMax)));
    EXPECT_EQ(world.all_reduce(rank == bad ? infinity : 1.0, ReduceOp::kSum), infinity);
  }
}

TEST_F(World, HostSumHasTheSameBitsOnEveryRank) {
  const double sum = world.all_reduce(std::pow(0.1, rank), ReduceOp::kSum);
  EXPECT_EQ(world.all_reduce(sum, ReduceOp::kMax), sum);
  EXPECT_EQ(world.all_reduce(-sum, ReduceOp::kMax), -sum);
}

TEST_F(World, GathersStrings) {
  // Rank 1's is empty; the others have a NUL and a length that grows with the rank.
  const auto text = [](int r) {
    return r == 1 ? std::string() : std::string("r\0", 2) + std::string(1000 * r, static_cast<char>('a' + r));
  };
  std::vector<std::string> expected;
  for (int r = 0; r < size; ++r) expected.push_back(text(r));
  EXPECT_THAT(world.all_gather(text(rank)), ElementsAreArray(expected));
  EXPECT_THAT(world.all_gather(""), ElementsAreArray(std::vector<std::string>(size)));
}

// Seconds of a clock that all processes of a host share.
double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

TEST_F(World, NobodyLeavesABarrierBeforeTheLastEnters) {
  for (int last = 0; last < size; ++last) {
    if (rank == last) std::this_thread::sleep_for(std::chrono::milliseconds(30));
    const double entered = now();
    world.barrier();
    const double left = now();
    EXPECT_GE(left, world.all_reduce(entered, ReduceOp::kMax));
  }
}

TEST_F(World, RefusesTensorsThatDoNotFit) {
  const Tensor x = Tensor::zeros({size * 2});
  const auto message = [](const char* text) { return ThrowsMessage<Error>(HasSubstr(text)); };
  EXPECT_THAT([&] { world.all_reduce(Tensor::zeros({2}, DType::kBFloat16), ReduceOp::kMax, kStream); },
              message("[all_reduce] expected another dtype than bfloat16 for a maximum, got bfloat16[2]"));
  EXPECT_THAT([&] { world.all_reduce(Tensor(), ReduceOp::kSum, kStream); }, message("undefined"));
  EXPECT_THAT([&] { world.reduce_scatter(x, Tensor::zeros({3}), kStream); }, message("parts of float32[3]"));
  EXPECT_THAT(
      [&] {
        world.reduce_scatter(Tensor::zeros({size * 2}, DType::kInt32), Tensor::zeros({2}, DType::kInt32), kStream);
      },
      message("[reduce_scatter] expected float32"));
  EXPECT_THAT([&] { world.all_gather(Tensor::zeros({2}, DType::kInt32), x, kStream); }, message("differ in dtype"));
  EXPECT_THAT([&] { world.all_gather(Tensor::zeros({1}), x, kStream); }, message("parts of float32[1]"));
  EXPECT_THAT([&] { world.all_to_all(x, x, kStream); }, message("overlap"));
  EXPECT_THAT([&] { world.all_to_all(x, Tensor::zeros({size * 3}), kStream); }, message("of one size"));
  EXPECT_THAT([&] { world.broadcast(x, size, kStream); }, message("[broadcast] root is"));
  EXPECT_THAT([&] { world.broadcast(x, -1, kStream); }, message("[broadcast] root is -1"));
  EXPECT_THAT([&] { world.send(x, rank, kStream); }, message("[send] to is"));
  EXPECT_THAT([&] { world.receive(x, size, kStream); }, message("[receive] from is"));
}

TEST_F(World, RefusesPartialOverlap) {
  if (size == 1) return;  // the only part is the whole
  const Tensor x = Tensor::zeros({size * 4});
  const Tensor across = x.flat_view(rank == 0 ? 1 : rank * 4 - 1, {4});
  EXPECT_THAT([&] { world.reduce_scatter(x, across, kStream); },
              ThrowsMessage<Error>(HasSubstr("elsewhere than in the part of rank")));
  EXPECT_THAT([&] { world.all_gather(across, x, kStream); },
              ThrowsMessage<Error>(HasSubstr("elsewhere than in the part of rank")));
}

TEST_F(World, ErrorsOfMpiNameTheCall) {
  int value = 0;
  EXPECT_THAT([&] { MUDELTA_MPI(MPI_Bcast(&value, 1, MPI_INT, size + 7, MPI_COMM_WORLD)); },
              ThrowsMessage<Error>(HasSubstr("MPI_Bcast failed: MPI_ERR_ROOT")));
}

}  // namespace
}  // namespace mudelta
