#include "core/live_tensors.h"

#include <gtest/gtest.h>

#include <tuple>

#include "core/allocator.h"
#include "core/block_size.h"
#include "core/gemm.h"
#include "core/gemm_workspace.h"

namespace mudelta {
namespace {

TEST(LiveTensors, CountsTheAllocatorsBlocks) {
  for (const std::int64_t rows : {0, 1, 100, 12345}) {
    LiveTensors live;
    live.add({rows, 3}, DType::kFloat32);
    live.add(Shape{rows, 5}, DType::kBFloat16);
    const std::int64_t before = memory_stats({}).allocated;
    const Tensor a = Tensor::empty({rows, 3}), b = Tensor::empty({rows, 5}, DType::kBFloat16);
    EXPECT_EQ(live.bytes(), static_cast<double>(memory_stats({}).allocated - before)) << rows;
  }
}

TEST(LiveTensors, OfAnySize) {
  LiveTensors live;
  live.add({std::int64_t{1} << 40, std::int64_t{1} << 40}, DType::kFloat32);
  EXPECT_EQ(live.bytes(), 0x1p82);
  LiveTensors many;
  many.add(3, live);
  EXPECT_EQ(many.bytes(), 3 * live.bytes());
}

TEST(LiveTensors, JoinedHaveTheMostOfEachSize) {
  LiveTensors small, large;
  small.add({1024}, DType::kFloat32);
  small.add({1024}, DType::kFloat32);
  large.add({1024}, DType::kFloat32);
  large.add({1 << 20}, DType::kFloat32);
  EXPECT_EQ(&larger(small, large), &large);
  small.join(large);
  EXPECT_EQ(small.bytes(), 4 * (2 * 1024 + (1 << 20)));
}

TEST(GemmWorkspace, IsWhatAProductAllocates) {
  for (const DType operands : {DType::kFloat32, DType::kBFloat16}) {
    for (const DType result : {DType::kFloat32, operands}) {
      for (const auto& [m, n, k] : {std::tuple{33, 70, 500}, std::tuple{100, 1000, 9000}, std::tuple{50, 60, 0}}) {
        const Tensor a = Tensor::zeros({m, k}, operands), b = Tensor::zeros({k, n}, operands);
        const Tensor c = Tensor::zeros({m, n}, result);
        const std::int64_t before = memory_stats({}).allocated;
        reset_peak_memory({});
        gemm(a, b, c, {}, Stream());
        EXPECT_EQ(gemm_workspace(m, n, k, operands, result, {}).bytes(),
                  static_cast<double>(memory_stats({}).peak_allocated - before))
            << m << " " << n << " " << k << " " << name_of(operands) << " " << name_of(result);
      }
    }
  }
}

}  // namespace
}  // namespace mudelta
