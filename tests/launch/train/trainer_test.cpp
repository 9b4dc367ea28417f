// Steps in which a rank fails alone. Run under mpirun with 1 and 3 ranks.

#include "launch/train/trainer.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <string>

#include "data/prepare.h"
#include "launch/config/config_text.h"
#include "launch/config/run_config.h"
#include "launch/train/training_job.h"
#include "tests/support/files.h"

namespace {

// Calls of aligned_alloc until one has no memory to give, and again where it is tried twice; negative: all have.
long allocations_left = -1;

}  // namespace

// In place of the C library's: where tensors on the host get their memory.
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) {
  if (allocations_left >= 0 && --allocations_left < 2) return nullptr;
  void* memory = nullptr;
  return ::posix_memalign(&memory, alignment, size) == 0 ? memory : nullptr;
}

namespace mudelta::testing {
namespace {

using ::testing::StartsWith;

class TrainerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (int i = 0; i < 400; ++i) text += "a text of some length, number " + std::to_string(i) + "\n\n";
    write_file(folder_ / "a.txt", text);
    prepare({.text = {.files = {folder_ / "a.txt"}}, .out = folder_ / "data", .validation_fraction = 0.1}, {});
    const auto file = write_file(folder_ / "run.textproto", R"(
        data { path: ')" + (folder_ / "data").string() + R"(' }
        model { width: 32 layers: 2 heads: 2 init_std: 0.1 }
        train { steps: 7 global_batch: 12 sequence_length: 32 eval_sequences: 4 }
        optimizer { adamw { lr: 4e-3 } })");
    config_ = complete_run_config(load_run_config(file, {}), world_.size());
  }

  const ProcessGroup world_ = ProcessGroup::world();
  const Mesh mesh_{world_};
  TemporaryFolder folder_;
  RunConfig config_;
};

TEST_F(TrainerTest, MemoryThatEndsOnOneRankEndsTheStepOnAll) {
  const int last = world_.size() - 1;
  std::int64_t length = 16;  // grows, so that blocks of the steps before are too small
  for (const char* how : {"train.compute_dtype=FLOAT32", "train.compute_dtype=BFLOAT16", "train.micro_batch=2"}) {
    for (const long allocations : {2, 3, 4, 6, 9, 14}) {
      apply_overrides({how, fmt::format("train.sequence_length={}", length)}, config_);
      length += length / 4;
      Trainer trainer(config_, mesh_);
      if (world_.rank() == last) allocations_left = allocations;
      try {
        trainer.step();
        ADD_FAILURE() << "no error with " << allocations << " allocations, " << how;
      } catch (const SharedError& error) {
        EXPECT_THAT(error.what(), StartsWith(last > 0 ? fmt::format("rank {}: out of memory", last) : "out of memory"));
        EXPECT_EQ(trainer.steps_done(), 0);
      }
      allocations_left = -1;
      Trainer whole(config_, mesh_);
      for (int step = 0; step < 2; ++step) EXPECT_EQ(trainer.step().loss, whole.step().loss);
    }
  }
}

}  // namespace
}  // namespace mudelta::testing
