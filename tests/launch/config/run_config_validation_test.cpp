#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include "launch/config/config_text.h"
#include "launch/config/run_config.h"
#include "launch/config/run_config_validation.h"
#include "launch/train/scaling.h"
#include "model/config.h"
#include "tests/support/errors.h"

namespace mudelta {
namespace {

using testing::error_of;
using ::testing::StartsWith;

RunConfig good_config() {
  RunConfig config;
  parse_text("data { path: 'data/corpus' } train { steps: 100 global_batch: 12 }", "run.textproto", config);
  return config;
}

std::string validation_error(const std::vector<std::string>& overrides, int world_size = 1) {
  RunConfig config = good_config();
  apply_overrides(overrides, config);
  return error_of([&] { validate(config, world_size); });
}

constexpr char kNoError[] = "no error was thrown";

struct BadValue {
  std::string assignment;
  std::string message;  // its beginning

  friend std::ostream& operator<<(std::ostream& out, const BadValue& value) { return out << value.assignment; }
};

class BadValues : public ::testing::TestWithParam<BadValue> {};

TEST_P(BadValues, AreNamedWithWhatWasExpected) {
  EXPECT_THAT(validation_error({GetParam().assignment}), StartsWith(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadValues,
    ::testing::ValuesIn(std::vector<BadValue>{
        {"train.steps=0", "train.steps is 0: expected at least 1"},
        {"train.global_batch=0", "train.global_batch is 0: expected at least 1"},
        {"train.global_batch=-4", "train.global_batch is -4: expected at least 1"},
        {"train.micro_batch=0", "train.micro_batch is 0: expected at least 1"},
        {"train.micro_batch=5", "train.micro_batch is 5: expected a divisor of the 12 sequences"},
        {"train.sequence_length=0", "train.sequence_length is 0: expected at least 1"},
        {"train.eval_every=-1", "train.eval_every is -1: expected at least 0"},
        {"train.eval_sequences=-1", "train.eval_sequences is -1: expected at least 0"},
        {"train.grad_clip=-1", "train.grad_clip is -1: expected at least 0"},
        {"train.grad_clip=nan", "train.grad_clip is nan: expected a finite number"},
        {"train.log_every=0", "train.log_every is 0: expected at least 1"},
        {"train.max_skipped_steps=0", "train.max_skipped_steps is 0: expected at least 1"},
        {"train.spike_threshold=-1", "train.spike_threshold is -1: expected at least 0"},
        {"train.spike_window=7", "train.spike_window is 7: expected at least 8"},
        {"train.spike_window=5000", "train.spike_window is 5000: expected at most 4096"},
        {"train.max_rollbacks=-1", "train.max_rollbacks is -1: expected at least 0"},
        {"train.check_replicas_every=-1", "train.check_replicas_every is -1: expected at least 0"},
        {"train.rank_times_every=-1", "train.rank_times_every is -1: expected at least 0"},
        {"data.path=", "data.path is not given"},
        {"parallel.tensor=0", "parallel.tensor is 0: expected at least 1"},
        {"parallel.tensor=2", "1 ranks: expected a multiple of parallel.tensor 2 x parallel.context 1"},
        {"parallel.context=0", "parallel.context is 0: expected at least 1"},
        {"parallel.context=3", "1 ranks: expected a multiple of parallel.tensor 1 x parallel.context 3"},
        {"parallel.zero_stage=-1", "parallel.zero_stage is -1: expected 0, 1, 2 or 3"},
        {"parallel.zero_stage=4", "parallel.zero_stage is 4: expected 0, 1, 2 or 3"},
        {"parallel.bucket_mib=0", "parallel.bucket_mib is 0: expected more than 0"},
        {"parallel.bucket_mib=1e300", "parallel.bucket_mib is 1e+300: expected more than 0 and at most 1048576"},
        {"train.global_batch=40000000", "train.global_batch is 40000000: with train.sequence_length"},
        {"train.sequence_length=9000000000", "train.global_batch is 12: with train.sequence_length 9000000000, 12"},
        {"train.steps=9000000000000000000", "train.steps x train.global_batch x train.sequence_length: 9000000000"},
        {"parametrization.base_width=9000000000", "parametrization.base_width is 9000000000: expected at most"},
        {"parallel.timeout_seconds=-1", "parallel.timeout_seconds is -1: expected at least 0"},
        {"optimizer.adamw.lr=0", "optimizer.adamw.lr is 0: expected more than 0"},
        {"optimizer.adamw.lr=-inf", "optimizer.adamw.lr is -inf: expected a finite number"},
        {"optimizer.adamw.lr=1e999", "optimizer.adamw.lr is inf: expected a finite number"},
        {"optimizer.adamw.beta1=1", "optimizer.adamw.beta1 is 1: expected at least 0 and less than 1"},
        {"optimizer.adamw.beta2=-0.1", "optimizer.adamw.beta2 is -0.1: expected at least 0 and less than 1"},
        {"optimizer.adamw.eps=0", "optimizer.adamw.eps is 0: expected more than 0"},
        {"optimizer.adamw.weight_decay=-1", "optimizer.adamw.weight_decay is -1: expected at least 0"},
        {"optimizer.sgd.lr=0", "optimizer.sgd.lr is 0: expected more than 0"},
        {"optimizer.sgd.momentum=1", "optimizer.sgd.momentum is 1: expected at least 0 and less than 1"},
        {"optimizer.sgd.weight_decay=-1", "optimizer.sgd.weight_decay is -1: expected at least 0"},
        {"schedule.warmup_steps=-1", "schedule.warmup_steps is -1: expected at least 0"},
        {"schedule.warmup_steps=101", "schedule.warmup_steps is 101: expected at most train.steps, 100"},
        {"schedule.decay_steps=-1", "schedule.decay_steps is -1: expected at least 0"},
        {"schedule={kind: WSD warmup_steps: 1 decay_steps: 100}", "schedule.decay_steps is 100: expected at most"},
        {"schedule.final_ratio=1.5", "schedule.final_ratio is 1.5: expected between 0 and 1"},
        {"schedule.final_lr=-1", "schedule.final_lr is -1: expected at least 0"},
        {"parametrization.base_width=0", "parametrization.base_width is 0: expected at least 1"},
        {"parametrization.base_heads=0", "parametrization.base_heads is 0: expected at least 1"},
        {"parametrization.base_value_heads=0", "parametrization.base_value_heads is 0: expected at least 1"},
        {"parametrization.base_head_dim=0", "parametrization.base_head_dim is 0: expected at least 1"},
        {"parametrization.base_mlp_size=0", "parametrization.base_mlp_size is 0: expected at least 1"},
        {"parametrization.scaling={role: GATE lr_width: nan}",
         "parametrization.scaling[0].lr_width is nan: expected a finite number"},
        {"checkpoint.every_steps=-1", "checkpoint.every_steps is -1: expected at least 0"},
        {"checkpoint.keep=-1", "checkpoint.keep is -1: expected at least 0"},
    }));

TEST(Validate, AcceptsWhatTheFieldsAllow) {
  EXPECT_EQ(validation_error({}), kNoError);
  EXPECT_EQ(validation_error({"train.micro_batch=100"}), kNoError);  // larger than a rank's share: the whole share
  EXPECT_EQ(validation_error({"train.micro_batch=3"}), kNoError);
  EXPECT_EQ(validation_error({"schedule.warmup_steps=100"}), kNoError);
  EXPECT_EQ(validation_error({"schedule={kind: WSD warmup_steps: 40 decay_steps: 60}"}), kNoError);
  EXPECT_EQ(validation_error({"train.grad_clip=0", "train.eval_every=0", "checkpoint.keep=0"}), kNoError);
}

TEST(Validate, ACudaGraphNeedsStaticShapesOnAGpu) {
  EXPECT_EQ(validation_error({"train.cuda_graph=true"}, 2), kNoError);
  EXPECT_EQ(validation_error({"train.cuda_graph=true", "parallel.zero_stage=3"}),
            "train.cuda_graph is true: expected parallel.zero_stage 0 or 1, got 3, which moves weights or gradients from "
            "step to step");
  EXPECT_EQ(validation_error({"train.cuda_graph=true", "train.device=CPU"}),
            "train.cuda_graph is true: expected train.device AUTO or CUDA, got CPU");
}

TEST(Validate, SequencesMustBeSharedEvenlyByTheDataRanks) {
  for (const int ranks : {1, 2, 3, 4, 6, 12}) EXPECT_EQ(validation_error({}, ranks), kNoError) << ranks;
  EXPECT_EQ(validation_error({}, 5), "train.global_batch is 12: expected a multiple of the 5 data ranks");
  // 8 ranks with two for each model are four for data.
  EXPECT_EQ(validation_error({"parallel.tensor=2"}, 8), kNoError);
  EXPECT_EQ(validation_error({"parallel.tensor=2", "train.micro_batch=2"}, 8),
            "train.micro_batch is 2: expected a divisor of the 3 sequences that each of the 4 data ranks has per step");
}

class Configs : public ::testing::TestWithParam<std::string> {};

TEST(Validate, SequencesMustBeCutEvenlyOverTheContextRanks) {
  EXPECT_EQ(validation_error({"parallel.context=3", "train.sequence_length=9"}, 6), kNoError);
  EXPECT_EQ(validation_error({"parallel.context=3", "train.sequence_length=10"}, 6),
            "train.sequence_length is 10: expected a multiple of parallel.context, 3: 9 or 12");
  EXPECT_EQ(validation_error({"parallel.context=4", "train.sequence_length=3"}, 4),
            "train.sequence_length is 3: expected a multiple of parallel.context, 4: 4");
  const std::vector<std::string> both = {"parallel.context=2", "parallel.tensor=2", "train.sequence_length=6"};
  EXPECT_EQ(validation_error(both, 4),
            "train.sequence_length is 6: expected a multiple of parallel.tensor 2 x parallel.context 2: 4 or 8; or "
            "parallel.sequence_parallel false");
  EXPECT_EQ(validation_error({both[0], both[1], both[2], "parallel.sequence_parallel=false"}, 4), kNoError);
  EXPECT_EQ(validation_error({"parallel.context=2", "train.cuda_graph=true"}, 2),
            "train.cuda_graph is true: not yet possible with parallel.context above 1, which is 2");
}

TEST_P(Configs, AreValidAndDescribeAModelAndItsBase) {
  const std::filesystem::path path = std::filesystem::path(MUDELTA_CONFIGS) / (GetParam() + ".textproto");
  RunConfig config = load_run_config(path, {"model.vocab_size=257"});
  validate(config, 2);
  EXPECT_NO_THROW(*config.mutable_model() = resolve(config.model()));
  EXPECT_NO_THROW(make_parametrization(config));
}

INSTANTIATE_TEST_SUITE_P(Shipped, Configs, ::testing::Values("quickstart", "paper-adamw", "paper-sgd", "small-124m"),
                         [](const auto& config) {
                           std::string name = config.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(PaperConfigs, AreMeantForThePapersWidths) {
  for (const char* file : {"paper-adamw.textproto", "paper-sgd.textproto"}) {
    for (const int width : {256, 512, 768, 1024, 1536}) {
      RunConfig config = load_run_config(std::filesystem::path(MUDELTA_CONFIGS) / file,
                                         {"model.vocab_size=257", "model.width=" + std::to_string(width)});
      validate(config, 8);
      *config.mutable_model() = resolve(config.model());
      EXPECT_EQ(config.model().head_dim(), width / 8);
      EXPECT_EQ(base_model(config).head_dim(), 32);
      EXPECT_NO_THROW(make_parametrization(config));
    }
  }
}

}  // namespace
}  // namespace mudelta
