// Steps in which a rank fails alone. Run under mpirun with 1 and 3 ranks.

#include "launch/train/trainer.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/host_name.h"
#include "data/prepare.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/config/config_text.h"
#include "launch/config/run_config.h"
#include "launch/train/rank_times.h"
#include "launch/train/training_job.h"
#include "launch/train/training_rows.h"
#include "tests/support/compare.h"
#include "tests/support/errors.h"
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

using ::testing::AllOf;
using ::testing::HasSubstr;
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

// The first test: no block of memory is left from others.
TEST_F(TrainerTest, AFailureIsToldBetweenMicroBatches) {
  apply_overrides({"train.micro_batch=1"}, config_);
  Trainer trainer(config_, mesh_);
  int asked = 0;
  if (world_.rank() == 0) allocations_left = 2;
  const std::string error = error_of([&] {
    trainer.step_unless([&] {
      ++asked;
      return false;
    });
  });
  allocations_left = -1;
  EXPECT_THAT(error, HasSubstr("out of memory"));
  EXPECT_EQ(asked, 1);
}

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

TEST_F(TrainerTest, AStepIsGivenUpBetweenMicroBatches) {
  apply_overrides({"train.micro_batch=1"}, config_);
  Trainer trainer(config_, mesh_), whole(config_, mesh_);
  const int last = world_.size() - 1;
  for (const int passes : {1, 2, 3}) {
    int asked = 0;
    const auto stop = [&] { return ++asked == passes && world_.rank() == last; };
    EXPECT_FALSE(trainer.step_unless(stop).has_value());
    EXPECT_EQ(asked, passes);
    EXPECT_EQ(trainer.steps_done(), passes - 1);
    const auto step = trainer.step_unless([] { return false; });
    ASSERT_TRUE(step.has_value());
    EXPECT_EQ(step->loss, whole.step().loss);
  }
  // With one micro-batch there is nothing to ask for.
  apply_overrides({"train.micro_batch=12"}, config_);
  EXPECT_TRUE(Trainer(config_, mesh_).step_unless([] { return true; }).has_value());
}

float& last_weight(Trainer& trainer) { return trainer.store().parameters().back().value.span<float>().back(); }

// What a flipped bit or a kernel that goes wrong on one rank does.
TEST_F(TrainerTest, ANanOnOneRankIsOneDecisionOnAll) {
  Trainer trainer(config_, mesh_), whole(config_, mesh_);
  const int last = world_.size() - 1;
  EXPECT_EQ(trainer.step().loss, whole.step().loss);
  float& weight = last_weight(trainer);
  const float before = weight;
  if (world_.rank() == last) weight = std::nanf("");
  const TrainStep bad = trainer.step();
  EXPECT_TRUE(bad.skipped);
  EXPECT_THAT(bad.fault, HasSubstr("not finite"));
  EXPECT_EQ(to_string(bad.rows), "rows 12 to 23");
  if (world_.rank() == last) weight = before;
  std::vector<Tensor> weights = trainer.whole_weights(), expected = whole.whole_weights();
  for (std::size_t i = 0; i < weights.size(); ++i) EXPECT_TRUE(same_bits(weights[i], expected[i]));
}

TEST_F(TrainerTest, ASpikeIsOneDecisionAndFollowsFromTheCheckpoint) {
  apply_overrides({"train.spike_threshold=6", "train.spike_window=8", "train.steps=20", "optimizer.adamw.lr=1e-5"},
                  config_);
  Trainer trainer(config_, mesh_);
  for (int step = 0; step < 9; ++step) EXPECT_FALSE(trainer.step().skipped);
  const std::string run = world_.all_gather((folder_ / "run").string()).front();
  trainer.save(run);
  Trainer resumed(config_, mesh_);
  resumed.load(checkpoint_path(run, 9));
  for (Trainer* each : {&trainer, &resumed}) {
    // Weights that predict badly, on the last rank alone.
    for (Parameter& parameter : each->store().parameters()) {
      if (world_.rank() != world_.size() - 1 || parameter.spec.role != Role::kEmbedding) continue;
      for (float& value : parameter.value.span<float>()) value *= 1e3f;
    }
  }
  const TrainStep spike = trainer.step(), again = resumed.step();
  EXPECT_TRUE(spike.skipped);
  EXPECT_THAT(spike.fault, HasSubstr("a loss spike"));
  EXPECT_EQ(again.fault, spike.fault);
  apply_overrides({"train.on_bad_step=ABORT"}, config_);
  Trainer aborted(config_, mesh_);
  aborted.load(checkpoint_path(run, 9));
  if (world_.rank() == 0) last_weight(aborted) = std::nanf("");
  EXPECT_THAT(error_of([&] { aborted.step(); }),
              AllOf(HasSubstr("training diverged: step 10 had"), HasSubstr("rows 108 to 119")));
}

TEST_F(TrainerTest, TheSlowestRanksAreNamed) {
  const int size = world_.size();
  const std::string text = describe_rank_times(world_, 1 + (world_.rank() + 1) % size);
  const std::string slowest = fmt::format("slowest: rank {} on {} {}.000 s", (2 * size - 2) % size, host_name(), size);
  EXPECT_THAT(text,
              AllOf(HasSubstr(slowest), HasSubstr(fmt::format("computed {}.000 s (the median)", (size + 1) / 2))));
}

TEST_F(TrainerTest, AFlippedBitIsFoundAndItsRankNamed) {
  apply_overrides({"train.check_replicas_every=2"}, config_);
  for (int wrong = 0; wrong < world_.size(); ++wrong) {
    Trainer trainer(config_, mesh_);
    for (int step = 0; step < 3; ++step) trainer.step();
    float& weight = last_weight(trainer);
    if (world_.rank() == wrong) weight = std::bit_cast<float>(std::bit_cast<std::uint32_t>(weight) ^ 1u);
    const std::string error = error_of([&] { trainer.step(); });
    if (world_.size() < 3) {
      EXPECT_EQ(error, "no error was thrown");
    } else {
      EXPECT_THAT(error,
                  AllOf(HasSubstr("before the update of step 4: " + trainer.store().parameters().back().spec.name +
                                  fmt::format(" of rank {} on ", wrong)),
                        HasSubstr("is not what 2 other ranks have")));
    }
  }
}

}  // namespace
}  // namespace mudelta::testing
