// Every collective on tensors of a device gives what it gives on the host. Run under mpirun.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "core/error.h"
#include "dist/device_placement.h"
#include "dist/nccl_backend.h"
#include "dist/parameter_shards.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace mudelta {
namespace {

using testing::random_normal;
using testing::same_bits;

// NCCL 2.30 can serve ranks that share a GPU, where it is told so.
bool nccl_can_share_gpus() {
  int major = 0, minor = 0;
  return std::sscanf(nccl_version().c_str(), "%d.%d", &major, &minor) == 2 && (major > 2 || minor >= 30);
}

class DeviceCollectives : public ::testing::TestWithParam<DeviceTransport> {
 protected:
  void SetUp() override {
    if (gpu::devices().empty()) GTEST_SKIP() << "no GPU: " << gpu::description();
    const bool shared = place_on_devices(hosts_) == DeviceTransport::kHost;
    if (GetParam() == DeviceTransport::kNccl && shared) {
      if (!nccl_can_share_gpus()) GTEST_SKIP() << "ranks share a GPU, which takes NCCL 2.30; here: " << nccl_version();
      setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 1);
    }
    world_ = hosts_.on_devices(GetParam());
    stream_ = Stream(Device::cuda());
  }

  // Small integers, whose sums are exact in any order.
  Tensor values(const Shape& shape, DType dtype = DType::kFloat32) const {
    const Tensor tensor = Tensor::empty(shape);
    for (std::int64_t i = 0; i < tensor.numel(); ++i) {
      tensor.data<float>()[i] = static_cast<float>((hosts_.rank() + 2) * (i % 53) - 40);
    }
    return tensor.to(dtype);
  }

  // `collective` on host tensors and on their copies on the device leaves the same in both.
  template <class F>
  void expect_same(const Tensor& a, const Tensor& b, const F& collective) const {
    const Tensor device_a = a.to(Device::cuda()), device_b = b.to(Device::cuda());
    collective(hosts_, a, b, Stream());
    collective(world_, device_a, device_b, stream_);
    EXPECT_TRUE(same_bits(device_a.to(Device()), a));
    EXPECT_TRUE(same_bits(device_b.to(Device()), b));
  }

  const ProcessGroup hosts_ = ProcessGroup::world();
  ProcessGroup world_ = ProcessGroup::single();
  Stream stream_;
};

INSTANTIATE_TEST_SUITE_P(Transports, DeviceCollectives,
                         ::testing::Values(DeviceTransport::kHost, DeviceTransport::kNccl), [](const auto& transport) {
                           return transport.param == DeviceTransport::kNccl ? "Nccl" : "Host";
                         });

TEST_P(DeviceCollectives, OfTensors) {
  const std::int64_t size = hosts_.size(), rank = hosts_.rank();
  for (const std::int64_t n : {1, 7, 1000}) {
    const Tensor unused = values({1});
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax}) {
      expect_same(values({n}), unused, [&](const ProcessGroup& group, const Tensor& x, const Tensor&, Stream stream) {
        group.all_reduce(x, op, stream);
      });
    }
    expect_same(values({size * n}), values({n}),
                [](const ProcessGroup& group, const Tensor& x, const Tensor& y, Stream stream) {
                  group.reduce_scatter(x, y, stream);
                });
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      expect_same(values({n}, dtype), values({size * n}, dtype),
                  [](const ProcessGroup& group, const Tensor& x, const Tensor& y, Stream stream) {
                    group.all_gather(x, y, stream);
                  });
      expect_same(values({size * n}, dtype), unused,
                  [&](const ProcessGroup& group, const Tensor& x, const Tensor&, Stream stream) {
                    group.all_gather(x.slice(rank * n, (rank + 1) * n), x, stream);
                  });
      expect_same(values({size * n}, dtype), values({size * n}, dtype),
                  [](const ProcessGroup& group, const Tensor& x, const Tensor& y, Stream stream) {
                    group.all_to_all(x, y, stream);
                  });
      expect_same(values({n}, dtype), unused,
                  [&](const ProcessGroup& group, const Tensor& x, const Tensor&, Stream stream) {
                    group.broadcast(x, static_cast<int>(size) - 1, stream);
                  });
      expect_same(values({n}, dtype), unused,
                  [&](const ProcessGroup& group, const Tensor& x, const Tensor&, Stream stream) {
                    if (size == 1) return;
                    if (rank == 0) group.send(x, 1, stream);
                    if (rank == 1) group.receive(x, 0, stream);
                  });
    }
  }
  EXPECT_EQ(world_.all_reduce(1.0, ReduceOp::kSum), static_cast<double>(size));
  EXPECT_EQ(world_.split(0, static_cast<int>(rank)).size(), static_cast<int>(size));
}

TEST_P(DeviceCollectives, OfBuckets) {
  const std::vector<ParameterSpec> specs = {{.name = "a", .shape = {67, 13}},
                                            {.name = "b", .unit = 1, .shape = {31, 33}}};
  ParameterStore host(specs, DType::kFloat32, {}, hosts_.size());
  ParameterStore there(specs, DType::kFloat32, Device::cuda(), hosts_.size());
  ParameterShards host_shards(host, hosts_, 1000), device_shards(there, world_, 1000);
  for (std::size_t i = 0; i < host.groups().size(); ++i) {
    for (const auto& [from, to] : {std::pair{host.groups()[i].gradients, there.groups()[i].gradients},
                                   std::pair{host.groups()[i].values, there.groups()[i].values}}) {
      from.copy_from(values(from.shape()));
      to.copy_from(from);
    }
  }
  host_shards.finish_gradients({});
  device_shards.gradients_final(1, stream_);
  device_shards.finish_gradients(stream_);
  host_shards.gather_values({});
  device_shards.gather_bucket(2, stream_);
  device_shards.gather_values(stream_);
  for (std::size_t i = 0; i < host.groups().size(); ++i) {
    EXPECT_TRUE(same_bits(there.groups()[i].values.to(Device()), host.groups()[i].values));
    const Tensor gradients = there.groups()[i].gradients.to(Device());
    for (const Shard& shard : host_shards.shards()) {
      const FlatRange& part = shard.range;
      if (part.group != i) continue;
      EXPECT_TRUE(
          same_bits(gradients.slice(part.begin, part.end), host.groups()[i].gradients.slice(part.begin, part.end)));
    }
  }
}

}  // namespace
}  // namespace mudelta
