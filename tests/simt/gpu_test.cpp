// The emulated device as core/gpu.h promises it.
#include "core/gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/gemm.h"
#include "core/graph.h"
#include "kernels/cuda/simt.h"
#include "tests/simt/device_array.h"
#include "tests/simt/stream.h"
#include "tests/support/errors.h"

namespace mudelta {
namespace {

using testing::DeviceArray;
using ::testing::Each;
using testing::error_of;
using ::testing::HasSubstr;

TEST(EmulatedGpu, FreshMemoryIsNan) {
  for (int i = 0; i < 2; ++i) {  // also where other values have been
    const DeviceArray<float> memory(100);
    for (const float value : memory.values()) EXPECT_TRUE(std::isnan(value));
    gpu::fill_zero(memory.data(), 400, gpu::compute_stream());
    for (const float value : memory.values()) EXPECT_EQ(value, 0);
  }
}

TEST(EmulatedGpu, MemoryIsAlignedAndFreedMemoryIsUsedAgain) {
  std::vector<void*> blocks;
  for (const std::int64_t num_bytes : {1, 256, 1000, 5}) blocks.push_back(gpu::allocate(num_bytes));
  for (void* block : blocks) EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % 256, 0u);
  for (const std::size_t i : {2, 0, 3, 1}) gpu::free(blocks[i]);
  EXPECT_EQ(gpu::allocate(2000), blocks[0]);
  gpu::free(blocks[0]);
  const std::int64_t capacity = gpu::devices()[0].memory_bytes;
  EXPECT_EQ(gpu::allocate(capacity), nullptr);
  EXPECT_NE(error_of([&] { gpu::free(blocks[0]); }).find("is no allocation"), std::string::npos);
}

TEST(EmulatedGpu, CopiesStayInsideAllocations) {
  const DeviceArray<float> memory(50);
  std::vector<float> host(51);
  const std::string error = error_of([&] { gpu::copy(host.data(), memory.data(), 51 * 4, gpu::compute_stream()); });
  EXPECT_NE(error.find("204 bytes from byte 0 of a device allocation of 200 bytes, outside of it"), std::string::npos)
      << error;
}

TEST(EmulatedGpuDeathTest, HostCodeMayNotTouchDeviceMemory) {
  const DeviceArray<float> memory(1);
  volatile float* device_pointer = memory.data();
  EXPECT_DEATH(*device_pointer = 1, "host code touched emulated device memory");
  EXPECT_DEATH(static_cast<void>(*device_pointer), "host code touched emulated device memory");
}

TEST(EmulatedGpu, OneDevice) {
  ASSERT_EQ(gpu::devices().size(), 1u);
  EXPECT_EQ(gpu::devices()[0].architecture, "sm_90");
  gpu::use_device(0);
  EXPECT_NE(error_of([] { gpu::use_device(1); }), "no error was thrown");
}

TEST(EmulatedGpu, ObjectsAreCounted) {
  const simt::LiveObjects before = simt::live_objects();
  {
    const SideStream side(Device::cuda());
    EXPECT_NE(Stream(side).handle(), gpu::compute_stream());
    const gpu::EventHandle event = gpu::create_event();
    Graph graph{Stream(Device::cuda())};
    for (int i = 0; i < 2; ++i) graph.run([] {});
    const simt::LiveObjects now = simt::live_objects();
    EXPECT_EQ(now.streams, before.streams + 1);
    EXPECT_EQ(now.events, before.events + 1);
    EXPECT_EQ(now.graphs, before.graphs + 1);
    gpu::destroy_event(event);
  }
  EXPECT_EQ(simt::live_objects(), before);
}

TEST(EmulatedGpu, Events) {
  const gpu::EventHandle begin = gpu::create_event(), end = gpu::create_event();
  gpu::synchronize_event(end);
  gpu::record(begin, gpu::compute_stream());
  gpu::record(end, gpu::compute_stream());
  EXPECT_GE(gpu::elapsed_ms(begin, end), 0.0f);
  gpu::destroy_event(begin);
  gpu::destroy_event(end);
}

// Integers whose sums are exact in either dtype.
Tensor integers(const Shape& shape, DType dtype, int step) {
  const Tensor host = Tensor::empty(shape, DType::kFloat32);
  for (std::int64_t i = 0; i < host.numel(); ++i) host.data<float>()[i] = static_cast<float>(i * step % 5 - 2);
  return host.to(dtype);
}
Tensor on_device(const Tensor& host) {
  const Tensor device = Tensor::empty(host.shape(), host.dtype(), Device::cuda());
  gpu::copy(device.raw(), host.raw(), host.num_bytes(), gpu::compute_stream());
  return device;
}

TEST(EmulatedGpu, Gemm) {
  constexpr std::int64_t m = 5, n = 7, k = 3;
  for (int bits = 0; bits < 16; ++bits) {
    const bool bfloat16_result = (bits & 8) != 0;
    const GemmOptions options{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0 && !bfloat16_result};
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      if (bfloat16_result && dtype == DType::kFloat32) continue;
      const Tensor a = integers(options.transpose_a ? Shape{k, m} : Shape{m, k}, dtype, 3);
      const Tensor b = integers(options.transpose_b ? Shape{n, k} : Shape{k, n}, dtype, 7);
      const Tensor c = integers({m, n}, bfloat16_result ? DType::kBFloat16 : DType::kFloat32, 2);
      const Tensor device_c = on_device(c);
      gpu::gemm(on_device(a), on_device(b), device_c, options, gpu::compute_stream());
      const Tensor result = Tensor::empty(c.shape(), c.dtype());
      gpu::copy(result.raw(), device_c.raw(), c.num_bytes(), gpu::compute_stream());
      const Tensor wide_a = a.to(DType::kFloat32), wide_b = b.to(DType::kFloat32), wide_c = c.to(DType::kFloat32);
      const Tensor wide_result = result.to(DType::kFloat32);
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          float expected = options.accumulate ? wide_c.data<float>()[i * n + j] : 0.0f;
          for (std::int64_t l = 0; l < k; ++l) {
            expected += wide_a.data<float>()[options.transpose_a ? l * m + i : i * k + l] *
                        wide_b.data<float>()[options.transpose_b ? j * k + l : l * n + j];
          }
          EXPECT_EQ(wide_result.data<float>()[i * n + j], expected) << "case " << bits << " at " << i << ", " << j;
        }
      }
    }
  }
}

__global__ void add_kernel(float* values, float x) { values[threadIdx.x] += x; }

void add(const DeviceArray<float>& values, float x, Stream stream) {
  kernels::cuda::launch(add_kernel, dim3(1), 4, 0, stream, values.data(), x);
}

TEST(EmulatedGraph, IsDoneWhenItIsLaunched) {
  const Stream stream(Device::cuda());
  const DeviceArray<float> a(std::vector<float>(4, 1.0f)), b(4);
  float x = 2;
  gpu::begin_capture(stream.handle());
  add(a, x, stream);
  gpu::copy(b.data(), a.data(), 16, stream.handle());
  add(a, x, stream);
  x = 100;
  const gpu::GraphHandle graph = gpu::end_capture(stream.handle());
  EXPECT_THAT(a.values(), Each(1.0f));
  for (float before : {1.0f, 5.0f}) {
    gpu::launch_graph(graph, stream.handle());
    EXPECT_THAT(a.values(), Each(before + 4));
    EXPECT_THAT(b.values(), Each(before + 2));
  }
  gpu::fill_zero(a.data(), 16, stream.handle());
  gpu::launch_graph(graph, stream.handle());
  EXPECT_THAT(a.values(), Each(4.0f));
  gpu::destroy_graph(graph);
}

TEST(EmulatedGraph, DoesNotKeepMemory) {
  const gpu::StreamHandle stream = gpu::compute_stream();
  auto* a = static_cast<float*>(gpu::allocate(16));
  const DeviceArray<float> b(4);
  gpu::begin_capture(stream);
  gpu::copy(b.data(), a, 16, stream);
  const gpu::GraphHandle copying = gpu::end_capture(stream);
  gpu::free(a);
  EXPECT_THAT(error_of([&] { gpu::launch_graph(copying, stream); }), HasSubstr("outside of it"));
  gpu::destroy_graph(copying);

  const std::int64_t before = memory_stats(Device::cuda()).allocated;
  gpu::GraphHandle multiplying = nullptr;
  {
    const Tensor matrix = on_device(integers({4, 4}, DType::kFloat32, 3)), product = on_device(matrix.to(Device()));
    gpu::begin_capture(stream);
    gpu::gemm(matrix, matrix, product, {}, stream);
    multiplying = gpu::end_capture(stream);
  }
  EXPECT_EQ(memory_stats(Device::cuda()).allocated, before);
  gpu::destroy_graph(multiplying);
}

TEST(EmulatedGraph, TakesInStreamsThatWaitForIt) {
  const Stream origin(Device::cuda());
  const SideStream one(Device::cuda()), other(Device::cuda());
  const Stream joining = one, apart = other;
  const DeviceArray<float> a(std::vector<float>(4, 0.0f)), b(std::vector<float>(4, 0.0f));
  gpu::begin_capture(origin.handle());
  joining.wait_for(origin);
  add(a, 1, joining);
  add(b, 1, apart);
  EXPECT_THAT(error_of([&] { origin.wait_for(apart); }), HasSubstr("wait for one that is not captured"));
  origin.wait_for(joining);
  const gpu::GraphHandle graph = gpu::end_capture(origin.handle());
  EXPECT_THAT(a.values(), Each(0.0f));
  EXPECT_THAT(b.values(), Each(1.0f));
  gpu::launch_graph(graph, origin.handle());
  EXPECT_THAT(a.values(), Each(1.0f));
  EXPECT_THAT(b.values(), Each(1.0f));
  gpu::destroy_graph(graph);
  add(a, 1, joining);
  EXPECT_THAT(a.values(), Each(2.0f)) << "the stream must be free again";

  for (const bool joined_once : {false, true}) {
    gpu::begin_capture(origin.handle());
    joining.wait_for(origin);
    add(a, 1, joining);
    if (joined_once) {
      origin.wait_for(joining);
      add(a, 1, joining);
    }
    EXPECT_THAT(error_of([&] { gpu::end_capture(origin.handle()); }), HasSubstr("has not waited for"));
  }
}

TEST(EmulatedGraph, RefusesWhatACaptureDoesNotAllow) {
  const gpu::StreamHandle stream = gpu::compute_stream();
  const DeviceArray<float> a(std::vector<float>(4, 0.0f));
  const gpu::EventHandle event = gpu::create_event();
  float host[4] = {1, 1, 1, 1};
  gpu::begin_capture(stream);
  const gpu::GraphHandle empty = nullptr;
  const std::vector<std::pair<std::string, std::function<void()>>> calls{
      {"synchronize was called", [&] { gpu::synchronize(stream); }},
      {"synchronize_event was called", [&] { gpu::synchronize_event(event); }},
      {"record was called", [&] { gpu::record(event, stream); }},
      {"allocate was called", [&] { gpu::allocate(4); }},
      {"allocate_pinned was called", [&] { gpu::allocate_pinned(4); }},
      {"free was called", [&] { gpu::free(a.data()); }},
      {"free_pinned was called", [&] { gpu::free_pinned(nullptr); }},
      {"launch_graph was called", [&] { gpu::launch_graph(empty, stream); }},
      {"begin_capture was called", [&] { gpu::begin_capture(stream); }},
      {"16 bytes were to be copied", [&] { gpu::copy(host, a.data(), 16, stream); }},
      {"16 bytes were to be copied", [&] { gpu::copy(a.data(), host, 16, stream); }}};
  for (const auto& [message, call] : calls) EXPECT_THAT(error_of(call), HasSubstr(message));
  gpu::fill_zero(a.data(), 16, stream);
  gpu::cancel_capture(stream);
  EXPECT_THAT(error_of([&] { gpu::end_capture(stream); }), HasSubstr("no capture of this stream"));
  gpu::copy(a.data(), host, 16, stream);
  EXPECT_THAT(a.values(), Each(1.0f));
  gpu::destroy_event(event);
}

}  // namespace
}  // namespace mudelta
