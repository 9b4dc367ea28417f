#include <gmock/gmock.h>

#include "core/allocator.h"
#include "launch/config/run_config.h"
#include "launch/job/memory_limit.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/stored_model.h"
#include "model/config.h"
#include "tests/launch/train/memory_estimate_cases.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using testing::error_of;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

// Files of a control group, by path and content, in place of the machine's.
std::optional<std::int64_t> limit_with(const std::vector<std::pair<std::string, std::string>>& files) {
  const TemporaryFolder root;
  for (const auto& [path, content] : files) {
    std::filesystem::create_directories((root / path).parent_path());
    testing::write_file(root / path, content);
  }
  return control_group_memory(root.path());
}

TEST(ControlGroupMemory, IsTheSmallestLimitAround) {
  const std::string cgroup = "proc/self/cgroup", fs = "sys/fs/cgroup/";
  EXPECT_EQ(limit_with({}), std::nullopt);
  EXPECT_EQ(limit_with({{cgroup, "0::/\n"}}), std::nullopt);
  EXPECT_EQ(limit_with({{cgroup, "0::/a/b\n"}, {fs + "a/memory.max", "5000\n"}, {fs + "a/b/memory.max", "max\n"}}),
            5000);
  EXPECT_EQ(limit_with({{cgroup, "0::/a/b\n"}, {fs + "a/memory.max", "5000\n"}, {fs + "a/b/memory.max", "300\n"}}),
            300);
  EXPECT_EQ(limit_with({{cgroup, "0::/a\n"}, {fs + "memory.max", "77\n"}}), 77) << "in a container";
  EXPECT_EQ(limit_with({{cgroup, "7:pids:/a\n4:cpu,memory:/a\n0::/\n"},
                        {fs + "memory/memory.limit_in_bytes", "9223372036854771712\n"},
                        {fs + "memory/a/memory.limit_in_bytes", "4096\n"}}),
            4096);
}

TEST(HostMemory, IsThere) { EXPECT_GT(host_memory(), 0); }

RunConfig config_of(std::int64_t layers) {
  RunConfig config;
  config.mutable_model()->set_vocab_size(257);
  config.mutable_model()->set_layers(layers);
  config.mutable_train()->set_compute_dtype(TrainConfig::BFLOAT16);
  *config.mutable_model() = resolve(config.model());
  return with_defaults(config);
}

TEST(MemoryEstimate, CountsEveryParameter) {
  for (const int layers : {1, 2, 5}) {
    RunConfig config = config_of(layers);
    const std::int64_t before = memory_stats({}).allocated;
    const StoredModel stored(config, {}, kForInference);
    const MemoryEstimate estimate = estimate_inference_memory(config, 0, {});
    const auto real = static_cast<double>(memory_stats({}).allocated - before);
    EXPECT_NEAR(estimate.total(), real, 0.001 * real);
    const double optimizer = estimate_memory(config, 1, {}).optimizer;
    const double gradients = estimate_memory(config, 1, {}).gradients;
    EXPECT_NEAR(optimizer, 3.0 * gradients, 0.15 * optimizer);
    EXPECT_NEAR(estimate_memory(config, 4, {}).optimizer, optimizer / 4, 0.02 * optimizer);
    // Masters and both moments.
    EXPECT_NEAR(estimate_memory(config, 1, {}).snapshot, 3.0 * gradients, 0.15 * optimizer);
    config.mutable_checkpoint()->set_asynchronous(false);
    EXPECT_EQ(estimate_memory(config, 1, {}).snapshot, 0);
  }
}

// A tenth is promised; a tensor of one layer that is forgotten is less.
TEST(MemoryEstimate, IsCloseToWhatAStepTakes) {
  for (const auto recompute : testing::kPolicies) {
    for (const auto dtype : {TrainConfig::FLOAT32, TrainConfig::BFLOAT16}) {
      for (const bool tied : {true, false}) {
        testing::expect_close(testing::run_config(recompute, dtype, tied, 1000), {}, 0.02);
      }
      RunConfig muon = testing::run_config(recompute, dtype, true, 1000);
      muon.mutable_optimizer()->mutable_muon();
      testing::expect_close(muon, {}, 0.02);
    }
  }
}

TEST(RequireMemory, NamesWhatIsTooLargeBeforeAnythingIsMade) {
  EXPECT_EQ(error_of([] { require_training_memory(config_of(1), 1, 1, {}); }), "no error was thrown");
  EXPECT_THAT(error_of([] { require_training_memory(config_of(2'000'000'000), 1, 1, {}); }),
              AllOf(HasSubstr("expected a smaller model (model.layers is 2000000000, width 256"),
                    HasSubstr("PiB of memory are needed on a rank (weights"), HasSubstr("this host has")));
  RunConfig wide_batch = config_of(1);
  wide_batch.mutable_train()->set_global_batch(3'000'000'000'000);
  EXPECT_THAT(error_of([&] { require_training_memory(wide_batch, 1, 2, {}); }),
              AllOf(HasSubstr("fewer tokens at a time (train.micro_batch is not given, global_batch 3000000000000"),
                    HasSubstr("for each of its 2 ranks")));
}

TEST(HumanBytes, HasThreeDigitsOrSo) {
  EXPECT_EQ(human_bytes(0), "0.0 MiB");
  EXPECT_EQ(human_bytes(3.5 * (1 << 30)), "3.50 GiB");
  EXPECT_EQ(human_bytes(1e18), "888.18 PiB");
}

}  // namespace
}  // namespace mudelta
