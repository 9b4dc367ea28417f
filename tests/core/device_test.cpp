// The runtime of core on a device: memory, copies, streams, products.
#include "tests/support/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/allocator.h"
#include "core/error.h"
#include "core/graph.h"
#include "tests/core/gemm_cases.h"
#include "tests/support/errors.h"
#include "tests/support/guarded.h"

namespace mudelta {
namespace {

using testing::device;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;

class DeviceTest : public testing::DeviceTest {};

std::vector<float> values_of(const Tensor& tensor) {
  const Tensor host = tensor.to(Device());
  return {host.data<float>(), host.data<float>() + host.numel()};
}

TEST_F(DeviceTest, CopiesThereAndBack) {
  const std::vector<float> values{1, -2, 3, 4, 5, 6};
  const Tensor host = Tensor::from(values, {2, 3});
  const Tensor there = host.to(device());
  EXPECT_EQ(there.device(), device());
  EXPECT_EQ(values_of(there), values);
  EXPECT_EQ(values_of(there.slice(1, 2)), std::vector<float>({4, 5, 6}));

  const Tensor copy = there.clone();
  there.fill_zero();
  EXPECT_EQ(values_of(copy), values);
  EXPECT_EQ(values_of(there), std::vector<float>(6, 0.0f));
  there.slice(0, 1).copy_from(copy.slice(1, 2));
  EXPECT_THAT(values_of(there), ElementsAre(4, 5, 6, 0, 0, 0));
}

TEST_F(DeviceTest, CopiesFromPinnedMemory) {
  const Tensor pinned = Tensor::empty({4}, DType::kFloat32, Device{DeviceType::kPinned});
  std::ranges::fill(pinned.span<float>(), 7.0f);
  const Tensor there = pinned.to(device());
  Stream(device()).synchronize();
  EXPECT_EQ(values_of(there), std::vector<float>(4, 7.0f));
  there.fill_zero();
  pinned.copy_from(there);
  EXPECT_THAT(pinned.span<float>(), ::testing::Each(0.0f));
}

TEST_F(DeviceTest, QueuesCopiesToPinnedMemory) {
  const Tensor there = Tensor::from(std::vector<float>{1, 2, 3}, {3}).to(device());
  const Tensor pinned = Tensor::zeros({3}, DType::kFloat32, Device{DeviceType::kPinned});
  pinned.queue_copy_from(there);
  Stream(device()).synchronize();
  EXPECT_EQ(values_of(pinned), (std::vector<float>{1, 2, 3}));
  EXPECT_THAT(error_of([&] { Tensor::zeros({3}).queue_copy_from(there); }), HasSubstr("expected pinned memory"));
  EXPECT_THAT(error_of([&] { pinned.queue_copy_from(pinned); }), HasSubstr("a source on a GPU"));
  EXPECT_THAT(error_of([&] { pinned.slice(0, 2).queue_copy_from(there); }), HasSubstr("cannot copy"));
}

TEST_F(DeviceTest, HostCodeCannotTakeElements) {
  const Tensor there = Tensor::zeros({3}, DType::kFloat32, device());
  EXPECT_THAT(error_of([&] { there.span<float>(); }), HasSubstr("float32[3] on cuda:0"));
  EXPECT_THAT(error_of([&] { there.to(DType::kBFloat16); }), HasSubstr("host memory"));
}

TEST_F(DeviceTest, CountsAndReusesMemory) {
  const std::int64_t before = memory_stats(device()).allocated;
  const std::byte* address = nullptr;
  {
    const Tensor tensor = Tensor::empty({1000}, DType::kFloat32, device());
    address = tensor.raw();
    EXPECT_GE(memory_stats(device()).allocated, before + 4000);
  }
  EXPECT_EQ(memory_stats(device()).allocated, before);
#ifndef __SANITIZE_ADDRESS__
  EXPECT_EQ(Tensor::empty({1000}, DType::kFloat32, device()).raw(), address);
#endif
}

TEST_F(DeviceTest, ExactBlocksHaveNoByteMoreAndAreNotKept) {
  if (std::getenv("MUDELTA_EXACT_BLOCKS") == nullptr) GTEST_SKIP() << "MUDELTA_EXACT_BLOCKS is not set";
  const MemoryStats before = memory_stats(device());
  {
    const auto block = allocate(4'097, device());
    EXPECT_EQ(memory_stats(device()).allocated, before.allocated + 4'097);
    EXPECT_EQ(memory_stats(device()).reserved, before.reserved + 4'097);
  }
  EXPECT_EQ(memory_stats(device()).reserved, before.reserved);
}

TEST_F(DeviceTest, GuardsOfTestsSeeWritesBeyond) {
  if (std::getenv("MUDELTA_EXACT_BLOCKS") != nullptr) GTEST_SKIP() << "blocks are exact: there are no guards";
  testing::Guards guards;
  const Tensor host = Tensor::from(std::vector<float>{1, 2, 3, 4, 5}, {5}), tensor = guards.copy(host);
  const Tensor output = guards.empty({5}, DType::kFloat32);
  output.copy_from(tensor);
  EXPECT_EQ(values_of(output), values_of(host));
  EXPECT_TRUE(guards.are_untouched());
  gpu::copy(output.raw() + 4, host.raw(), host.num_bytes(), Stream(device()).handle());
  Stream(device()).synchronize();
  EXPECT_FALSE(guards.are_untouched());
}

TEST_F(DeviceTest, RunsOutOfMemoryWithAnError) {
  EXPECT_THAT(error_of([] { Tensor::empty({std::int64_t{1} << 50}, DType::kFloat32, device()); }),
              HasSubstr("out of GPU memory"));
  EXPECT_EQ(values_of(Tensor::zeros({2}, DType::kFloat32, device())), std::vector<float>(2, 0.0f));
}

TEST_F(DeviceTest, StreamsWaitForOneAnother) {
  const Stream compute(device());
  const SideStream own(device());
  const Stream side = own;
  const Tensor tensor = Tensor::zeros({1 << 16}, DType::kFloat32, device());
  side.wait_for(compute);
  const std::vector<float> ones(1 << 16, 1.0f);
  const Tensor pinned = Tensor::from(ones, {1 << 16}).to(Device{DeviceType::kPinned});
  gpu::copy(tensor.raw(), pinned.raw(), tensor.num_bytes(), side.handle());
  compute.wait_for(side);
  EXPECT_EQ(values_of(tensor.clone()), ones);
}

TEST_F(DeviceTest, MatrixProducts) {
  const auto multiply = [](const Tensor& a, const Tensor& b, const Tensor& c, GemmOptions options) {
    gemm(a, b, c, options, Stream(device()));
  };
  using enum DType;
  for (const auto& [operands, result] :
       {std::pair{kFloat32, kFloat32}, {kBFloat16, kFloat32}, {kBFloat16, kBFloat16}}) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        for (const bool accumulate : {false, true}) {
          if (accumulate && result == kBFloat16) continue;
          const GemmOptions options{transpose_a, transpose_b, accumulate};
          for (const std::int64_t size : {1, 6, 64, 129}) {
            EXPECT_TRUE(testing::fits({size, 24, 17, options, operands, result}, multiply, device()));
            EXPECT_TRUE(testing::fits({40, size, 64, options, operands, result}, multiply, device()));
            EXPECT_TRUE(testing::fits({8, 65, size, options, operands, result}, multiply, device()));
          }
          EXPECT_TRUE(testing::fits({0, 5, 7, options, operands, result}, multiply, device()));
          EXPECT_TRUE(testing::fits({5, 3, 0, options, operands, result}, multiply, device()));
        }
      }
    }
  }
}

TEST_F(DeviceTest, ProductsOfViewsAtAnyAddress) {
  const Tensor all = testing::random_normal({1000}, "x", 1);
  const Tensor a = all.flat_view(1, {7, 9}), b = all.flat_view(101, {9, 5});
  const Tensor expected = Tensor::empty({7, 5});
  gemm(a, b, expected, {}, {});
  const Tensor there = all.to(device());
  const Tensor c = Tensor::zeros({100}, DType::kFloat32, device()).flat_view(3, {7, 5});
  gemm(there.flat_view(1, {7, 9}), there.flat_view(101, {9, 5}), c, {}, Stream(device()));
  EXPECT_TRUE(testing::close(c.to(Device()), testing::to_doubles(expected), 1e-6, 1e-6));
  EXPECT_THAT(error_of([&] {
                gemm(a, there.flat_view(101, {9, 5}), c, {}, Stream(device()));
              }),
              HasSubstr("matrices on one device"));
}

// The products of a model's layers in bfloat16, of which a few rows are compared: on the emulator of a small one.
TEST_F(DeviceTest, ProductsOfModelShapes) {
  struct Layer {
    std::int64_t in, out;
  };
  const std::int64_t tokens = testing::kEmulated ? 96 : 16'384;
  const std::vector<Layer> layers = testing::kEmulated ? std::vector<Layer>{{64, 200}, {200, 64}}
                                                       : std::vector<Layer>{{1536, 1536},   {1536, 4096}, {4096, 1536},
                                                                            {1536, 50'304}, {1024, 2736}, {2048, 16}};
  // Rows `rows` of a b, of matrices row by row.
  const auto expect_rows = [](const Tensor& c, const Tensor& a, const Tensor& b, GemmOptions options, double limit) {
    const auto x = testing::to_doubles(a), y = testing::to_doubles(b);
    const std::int64_t m = c.size(0), n = c.size(1), k = a.size(options.transpose_a ? 0 : 1);
    for (const std::int64_t row : {std::int64_t{0}, m / 2 + 1, m - 1}) {
      std::vector<double> expected(static_cast<std::size_t>(n));
      for (std::int64_t j = 0; j < n; ++j) {
        for (std::int64_t l = 0; l < k; ++l) {
          expected[j] +=
              x[options.transpose_a ? l * m + row : row * k + l] * y[options.transpose_b ? j * k + l : l * n + j];
        }
      }
      EXPECT_TRUE(testing::close(c.slice(row, row + 1).to(Device()), expected, limit)) << "row " << row;
    }
  };
  constexpr DType kType = DType::kBFloat16;
  constexpr double kRounded = 3e-3, kSummed = 5e-5;  // 1.9e-5 was seen over 16,384 terms
  for (const auto [in, out] : layers) {
    SCOPED_TRACE(std::to_string(in) + " -> " + std::to_string(out));
    const Tensor x = testing::random_normal({tokens, in}, "x", 1, 0, 1, kType);
    const Tensor w = testing::random_normal({out, in}, "w", 1, 0, 1, kType);
    const Tensor dy = testing::random_normal({tokens, out}, "dy", 1, 0, 1, kType);
    const Tensor there_x = x.to(device()), there_w = w.to(device()), there_dy = dy.to(device());
    const Tensor y = Tensor::empty({tokens, out}, kType, device()), dx = Tensor::empty({tokens, in}, kType, device());
    const Tensor dw = Tensor::zeros({out, in}, DType::kFloat32, device());
    linear_forward(there_x, there_w, y, Stream(device()));
    linear_backward(there_x, there_w, there_dy, dx, false, dw, Stream(device()));
    expect_rows(y, x, w, {.transpose_b = true}, kRounded);
    expect_rows(dx, dy, w, {}, kRounded);
    expect_rows(dw, dy, x, {.transpose_a = true}, kSummed);
  }
}

// All of the GPU's memory but a rest, for as long as it lives.
class Ballast {
 public:
  explicit Ballast(std::int64_t rest) {
    for (std::int64_t size = std::int64_t{32} << 30; size >= rest / 4; size /= 2) {
      while (void* const block = gpu::allocate(size)) blocks_.push_back(block);
    }
    for (std::int64_t freed = 0; freed < rest && !blocks_.empty(); freed += rest / 4) {
      gpu::free(blocks_.back());
      blocks_.pop_back();
    }
  }
  ~Ballast() {
    for (void* const block : blocks_) gpu::free(block);
  }
  Ballast(const Ballast&) = delete;
  Ballast& operator=(const Ballast&) = delete;

 private:
  std::vector<void*> blocks_;
};

// Blocks of ever other sizes, of which few fit beside one another: cached ones are given back to the driver while
// streams still have work on them. The emulator's memory, which is the host's, is not filled up first.
TEST_F(DeviceTest, AllocatorUnderPressureWithTwoStreams) {
  constexpr std::int64_t kRest = std::int64_t{512} << 20;
  const std::unique_ptr<Ballast> ballast = testing::kEmulated ? nullptr : std::make_unique<Ballast>(kRest);
  const Stream compute(device());
  const SideStream own(device());
  const Stream side = own;
  const std::int64_t most = testing::kEmulated ? 1 << 12 : kRest / 5 / 4;
  const Tensor pinned = Tensor::empty({most}, DType::kFloat32, Device{DeviceType::kPinned});
  for (std::int64_t i = 0; i < most; ++i) pinned.data<float>()[i] = static_cast<float>(i % 1021);
  for (int round = 0; round < 40; ++round) {
    const std::int64_t n = most - round * (most / 50);
    const Tensor pulled = Tensor::empty({n}, DType::kFloat32, device());
    side.wait_for(compute);  // whoever had the memory before
    gpu::copy(pulled.raw(), pinned.raw(), pulled.num_bytes(), side.handle());
    compute.wait_for(side);
    const Tensor copied = pulled.clone().clone();  // the first copy goes back while it is read
    pulled.fill_zero();
    side.wait_for(compute);
    const Tensor back = Tensor::empty({n}, DType::kFloat32, Device{DeviceType::kPinned});
    gpu::copy(back.raw(), copied.raw(), copied.num_bytes(), side.handle());
    compute.wait_for(side);
    side.synchronize();
    ASSERT_TRUE(std::equal(back.data<float>(), back.data<float>() + n, pinned.data<float>())) << "round " << round;
  }
}

class GraphTest : public DeviceTest {};

Tensor filled(float value, const Shape& shape) {
  const Tensor host = Tensor::empty(shape);
  std::ranges::fill(host.span<float>(), value);
  return host;
}

TEST_F(GraphTest, RepeatsWorkOnWhatStandsThere) {
  const Stream compute(device());
  const SideStream own(device());
  const Stream side = own;
  const Tensor input = Tensor::zeros({8, 8}, DType::kFloat32, device());
  const Tensor sum = Tensor::zeros({8, 8}, DType::kFloat32, device());
  const Tensor copied = Tensor::zeros({8, 8}, DType::kFloat32, device());
  int calls = 0;
  const auto work = [&] {
    ++calls;
    side.wait_for(compute);
    gpu::copy(copied.raw(), input.raw(), input.num_bytes(), side.handle());
    const Tensor square = Tensor::empty({8, 8}, DType::kFloat32, device());
    gemm(input, input, square, {}, compute);
    const Tensor other = square.clone();
    square.fill_zero();
    compute.wait_for(side);
    gemm(copied, other, sum, {.accumulate = true}, compute);
  };
  Graph graph(compute);
  float expected = 0;
  for (int i = 1; i <= 5; ++i) {
    const auto x = static_cast<float>(i);
    input.copy_from(filled(x, {8, 8}));
    graph.run(work);
    expected += 64 * x * x * x;
    EXPECT_THAT(values_of(sum), ::testing::Each(expected)) << "call " << i;
    EXPECT_THAT(values_of(copied), ::testing::Each(x)) << "call " << i;
  }
  EXPECT_EQ(calls, 2);
}

TEST_F(GraphTest, MemoryIsItsOwnUntilItIsDestroyed) {
  const Tensor input = Tensor::zeros({1000}, DType::kFloat32, device()), output = input.clone();
  const std::int64_t before = memory_stats(device()).allocated;
  {
    Graph graph{Stream(device())};
    const auto work = [&] {
      const Tensor first = input.clone(), second = first.clone();
      output.copy_from(second);
    };
    graph.run(work);
    const std::int64_t with_graph = memory_stats(device()).allocated;
    EXPECT_GE(with_graph, before + 8000);
    for (int i = 1; i <= 4; ++i) {
      const auto x = static_cast<float>(i);
      std::vector<Tensor> others;
      for (int j = 0; j < 4; ++j) others.push_back(filled(-1, {1000}).to(device()));
      input.copy_from(filled(x, {1000}));
      graph.run(work);
      EXPECT_THAT(values_of(output), ::testing::Each(x));
      for (const Tensor& other : others) EXPECT_THAT(values_of(other), ::testing::Each(-1.0f));
    }
    EXPECT_EQ(memory_stats(device()).allocated, with_graph);
  }
  EXPECT_EQ(memory_stats(device()).allocated, before);
}

TEST_F(GraphTest, VariantsShareMemory) {
  const Tensor output = Tensor::zeros({2000}, DType::kFloat32, device());
  const Tensor small = filled(1, {1000}).to(device()), large = filled(2, {2000}).to(device());
  const auto add_twice = [&](const Tensor& input) {
    const Tensor first = input.clone(), second = first.clone();
    output.slice(0, input.numel()).copy_from(second);
  };
  Graph graph{Stream(device())};
  graph.run([&] { add_twice(large); }, 2000);
  const std::int64_t with_graph = memory_stats(device()).allocated;
  graph.run([&] { add_twice(small); }, 1000);
  const std::int64_t with_both = memory_stats(device()).allocated;
  EXPECT_LE(with_both, with_graph + 8192);  // blocks are of one size: the small ones are new
  for (int i = 3; i < 6; ++i) {
    const auto x = static_cast<float>(i);
    small.copy_from(filled(x, {1000}));
    large.copy_from(filled(-x, {2000}));
    graph.run([&] { add_twice(large); }, 2000);
    EXPECT_THAT(values_of(output), ::testing::Each(-x));
    graph.run([&] { add_twice(small); }, 1000);
    EXPECT_THAT(values_of(output.slice(0, 1000)), ::testing::Each(x));
    EXPECT_THAT(values_of(output.slice(1000, 2000)), ::testing::Each(-x));
  }
  EXPECT_EQ(memory_stats(device()).allocated, with_both);
}

TEST_F(GraphTest, MemoryInUseOutlivesThePool) {
  const std::int64_t before = memory_stats(device()).allocated;
  Tensor kept;
  {
    const MemoryPool pool;
    const MemoryPool::Scope scope(pool);
    kept = filled(3, {1000}).to(device());
    EXPECT_THAT(error_of([&] { const MemoryPool::Scope again(pool); }), HasSubstr("in use already"));
  }
  EXPECT_GE(memory_stats(device()).allocated, before + 4000);
  const Tensor other = filled(4, {1000}).to(device());
  EXPECT_THAT(values_of(kept), ::testing::Each(3.0f));
  kept = other;
  EXPECT_LT(memory_stats(device()).allocated, before + 8000);
}

TEST_F(GraphTest, ErrorsLeaveTheDeviceUsable) {
  const Tensor input = filled(2, {4}).to(device()), output = Tensor::zeros({4}, DType::kFloat32, device());
  EXPECT_THAT(error_of([] { Graph graph{Stream()}; }), HasSubstr("expected a stream of a GPU, got one of cpu"));

  Graph graph{Stream(device())};
  const auto waiting = [&] {
    output.copy_from(input);
    values_of(output);
  };
  graph.run(waiting);
  EXPECT_NE(error_of([&] { graph.run(waiting); }), error_of([] {}));
  output.fill_zero();
  EXPECT_THAT(values_of(output), ::testing::Each(0.0f));
  for (int i = 0; i < 2; ++i) {
    graph.run([&] { output.copy_from(input); });
    EXPECT_THAT(values_of(output), ::testing::Each(2.0f));
    output.fill_zero();
  }
}

}  // namespace
}  // namespace mudelta
