// What tensor and data parallelism ask of NCCL, by a NCCL that writes it down (fake_nccl.cpp): which communicator,
// which stream, how many elements of which type. Tensors are of the emulated device.

#include <gmock/gmock.h>

#include <set>

#include "dist/nccl_backend.h"
#include "tests/dist/fake_nccl.h"
#include "tests/dist/host_group.h"

namespace mudelta {
namespace {

namespace fake = testing::fake_nccl;
using testing::HostGroup;

class NcclCalls : public ::testing::Test {
 protected:
  void SetUp() override {
    gpu::use_device(0);
    fake::calls.clear();
    HostGroup::calls = 0;
  }

  static Tensor tensor(std::int64_t numel, DType dtype = DType::kBFloat16) {
    return Tensor::zeros({numel}, dtype, Device::cuda());
  }
  // Rank 1 of two, alone.
  static std::shared_ptr<const ProcessGroup::Backend> start() {
    return nccl_backend(std::make_shared<HostGroup>(1, 2));
  }
  static cudaStream_t handle(Stream stream) { return static_cast<cudaStream_t>(stream.handle()); }
  // The only call since the last.
  static fake::Call take_call() {
    EXPECT_EQ(fake::calls.size(), 1u);
    const fake::Call call = fake::calls.at(0);
    fake::calls.clear();
    return call;
  }
};

TEST_F(NcclCalls, EachGroupHasACommunicatorThatGoesWithIt) {
  const int before = fake::communicators;
  {
    const auto world = start();
    {
      const auto data = world->split(0, 1), parts = world->split(1, 1), copies = parts->split(0, 0);
      EXPECT_EQ(fake::communicators, before + 4);
      const Tensor x = tensor(6);
      for (const auto& group : {world, data, parts, copies}) group->all_reduce(x, ReduceOp::kSum, Stream(x.device()));
      std::set<ncclComm_t> used;
      for (const fake::Call& call : fake::calls) used.insert(call.comm);
      EXPECT_EQ(used.size(), 4u);
    }
    EXPECT_EQ(fake::communicators, before + 1);
  }
  EXPECT_EQ(fake::communicators, before);
}

// Rows of a sequence-parallel residual stream: gathered, and scattered as a sum.
TEST_F(NcclCalls, RowsOfBFloat16AreGatheredAndScattered) {
  const auto group = start();
  const Tensor rows = tensor(30), all = tensor(60);
  const Stream stream(all.device());
  group->all_gather(rows, all, stream);
  const fake::Call gather = take_call();
  EXPECT_EQ(gather.name, "ncclAllGather");
  EXPECT_EQ(gather.send, rows.raw());
  EXPECT_EQ(gather.receive, all.raw());
  EXPECT_EQ(gather.count, 30u);  // NCCL counts what a rank sends
  EXPECT_EQ(gather.type, ncclBfloat16);
  EXPECT_EQ(gather.stream, handle(stream));

  group->reduce_scatter(all, rows, stream);
  const fake::Call scatter = take_call();
  EXPECT_EQ(scatter.name, "ncclReduceScatter");
  EXPECT_EQ(scatter.send, all.raw());
  EXPECT_EQ(scatter.receive, rows.raw());
  EXPECT_EQ(scatter.count, 30u);  // and here what it receives
  EXPECT_EQ(scatter.type, ncclBfloat16);
  EXPECT_EQ(scatter.peer_or_op, ncclSum);
  EXPECT_EQ(scatter.stream, handle(stream));
}

TEST_F(NcclCalls, SumsAndMaximaAreInPlaceAndOfEveryType) {
  const auto group = start();
  const std::pair<DType, ncclDataType_t> types[] = {{DType::kFloat32, ncclFloat32},
                                                    {DType::kBFloat16, ncclBfloat16},
                                                    {DType::kFloat64, ncclFloat64},
                                                    {DType::kInt32, ncclInt32}};
  for (const auto& [dtype, type] : types) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
      const Tensor x = tensor(7, dtype);
      group->all_reduce(x, op, Stream(x.device()));
      const fake::Call call = take_call();
      EXPECT_EQ(call.name, "ncclAllReduce");
      EXPECT_EQ(call.send, x.raw());
      EXPECT_EQ(call.receive, x.raw());
      EXPECT_EQ(call.count, 7u);
      EXPECT_EQ(call.type, type);
      EXPECT_EQ(call.peer_or_op, op == ReduceOp::kSum ? ncclSum : ncclMax);
    }
  }
}

// Gradients beside the backward pass: the calls of two groups, each in its own stream, in the order of the host's.
TEST_F(NcclCalls, KeepTheirStreamsAndTheirOrder) {
  const auto world = start();
  const auto data = world->split(0, 1), parts = world->split(1, 1);
  const SideStream side(Device::cuda());
  const Stream compute(Device::cuda());
  const Tensor gradients = tensor(64, DType::kFloat32), rows = tensor(8), all = tensor(16);
  parts->all_gather(rows, all, compute);
  data->reduce_scatter(gradients, gradients.slice(32, 64), side);
  parts->reduce_scatter(all, rows, compute);
  data->all_gather(gradients.slice(32, 64), gradients, side);
  ASSERT_EQ(fake::calls.size(), 4u);
  EXPECT_NE(handle(side), handle(compute));
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(fake::calls[i].stream, i % 2 == 0 ? handle(compute) : handle(side)) << i;
    EXPECT_EQ(fake::calls[i].comm, fake::calls[i % 2].comm) << i;
  }
  EXPECT_NE(fake::calls[0].comm, fake::calls[1].comm);
  // In place, as this rank is number 1.
  EXPECT_EQ(fake::calls[1].receive, static_cast<const std::byte*>(fake::calls[1].send) + 32 * sizeof(float));
  EXPECT_EQ(fake::calls[3].send, static_cast<const std::byte*>(fake::calls[3].receive) + 32 * sizeof(float));
}

TEST_F(NcclCalls, AllToAllIsAGroupOfSendsAndReceives) {
  const auto group = start();
  const Tensor in = tensor(10), out = tensor(10);
  group->all_to_all(in, out, Stream(in.device()));
  ASSERT_EQ(fake::calls.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    const fake::Call& call = fake::calls[i];
    const auto peer = static_cast<std::int64_t>(i / 2);
    EXPECT_TRUE(call.in_group);
    EXPECT_EQ(call.peer_or_op, peer);
    EXPECT_EQ(call.count, 5u);
    const Tensor& tensor = i % 2 == 0 ? in : out;
    EXPECT_EQ(i % 2 == 0 ? call.send : call.receive, tensor.slice(5 * peer, 5 * peer + 5).raw());
  }
}

TEST_F(NcclCalls, TensorsOfTheHostGoByTheHostsGroup) {
  const auto group = start();
  const Tensor x = Tensor::zeros({4}), all = Tensor::zeros({8});
  group->all_reduce(x, ReduceOp::kSum, Stream());
  group->all_gather(x, all, Stream());
  group->reduce_scatter(all, x, Stream());
  group->broadcast(x, 0, Stream());
  EXPECT_EQ(HostGroup::calls, 4);
  EXPECT_TRUE(fake::calls.empty());
}

}  // namespace
}  // namespace mudelta
