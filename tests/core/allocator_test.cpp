#include "core/allocator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "tests/support/errors.h"

namespace mudelta {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr bool kReuseBlocks = false;
#else
constexpr bool kReuseBlocks = true;
#endif

TEST(Allocator, BlocksAreAligned) {
  for (const std::int64_t num_bytes : {0, 1, 63, 64, 65, 4095, 4097, 100'001}) {
    const auto block = allocate(num_bytes, {});
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block.get()) % 64, 0u) << num_bytes;
    std::memset(block.get(), 1, static_cast<std::size_t>(num_bytes));
  }
}

TEST(Allocator, StatisticsFollowBlocks) {
  const MemoryStats before = memory_stats({});
  reset_peak_memory({});
  EXPECT_EQ(memory_stats({}).peak_allocated, before.allocated);
  {
    const auto first = allocate(1'000'000, {});
    const std::int64_t with_first = memory_stats({}).allocated - before.allocated;
    EXPECT_GE(with_first, 1'000'000);
    EXPECT_LE(with_first, 1'125'000);  // an eighth at most is lost to rounding
    { const auto second = allocate(500'000, {}); }
    EXPECT_EQ(memory_stats({}).allocated - before.allocated, with_first);
    EXPECT_GE(memory_stats({}).peak_allocated - before.allocated, with_first + 500'000);
  }
  EXPECT_EQ(memory_stats({}).allocated, before.allocated);
  EXPECT_GE(memory_stats({}).peak_allocated - before.allocated, 1'500'000);
}

TEST(Allocator, FreedBlocksAreReused) {
  if (!kReuseBlocks) GTEST_SKIP() << "blocks are not reused under AddressSanitizer";
  const std::byte* first = allocate(123'456, {}).get();
  const MemoryStats before = memory_stats({});
  for (int i = 0; i < 10; ++i) {
    const auto again = allocate(123'000, {});  // of the same size class
    EXPECT_EQ(again.get(), first);
  }
  EXPECT_EQ(memory_stats({}).reserved, before.reserved);
}

TEST(Allocator, LiveBlocksDoNotOverlap) {
  std::vector<std::shared_ptr<std::byte[]>> blocks;
  for (int i = 0; i < 100; ++i) {
    blocks.push_back(allocate(1000, {}));
    std::memset(blocks.back().get(), i, 1000);
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(blocks[i][0], std::byte(i));
    EXPECT_EQ(blocks[i][999], std::byte(i));
  }
}

TEST(Allocator, ManyThreads) {
  const std::int64_t before = memory_stats({}).allocated;
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id) {
    threads.emplace_back([id] {
      for (int i = 0; i < 1000; ++i) {
        const auto block = allocate(64 + 64 * (i % 7), {});
        block[0] = std::byte(id);
        std::this_thread::yield();
        EXPECT_EQ(block[0], std::byte(id));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(memory_stats({}).allocated, before);
}

TEST(Allocator, OutOfMemoryIsAnError) {
  if (!kReuseBlocks) GTEST_SKIP() << "AddressSanitizer ends the program instead";
  const MemoryStats before = memory_stats({});
  EXPECT_THAT(testing::error_of([] { allocate(std::int64_t{1} << 60, {}); }), ::testing::HasSubstr("out of memory"));
  EXPECT_EQ(memory_stats({}).allocated, before.allocated);
  EXPECT_EQ(memory_stats({}).reserved, before.allocated) << "cached blocks must be given back before giving up";
}

}  // namespace
}  // namespace mudelta
