// What people ask of checkpoints: which stay, what is wrong with one, how far two are apart, one file of all weights.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint_difference.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/consolidation.h"
#include "launch/checkpoint/retention.h"
#include "tests/launch/checkpoint/checkpoint_run.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::int64_t> steps_in(const fs::path& run) {
  std::vector<std::int64_t> steps;
  for (const CheckpointFolder& checkpoint : list_checkpoints(run)) steps.push_back(checkpoint.step);
  return steps;
}

TEST(Retention, SaysWhyACheckpointStays) {
  EXPECT_EQ(reason_to_keep({.newest = 0}, 7, 3), "all are kept");
  EXPECT_EQ(reason_to_keep({.newest = 1, .every = 5}, 10, 0), "the newest");
  EXPECT_EQ(reason_to_keep({.newest = 3, .every = 5}, 10, 2), "among the 3 newest");
  EXPECT_EQ(reason_to_keep({.newest = 3, .every = 5}, 10, 3), "a multiple of 5");
  EXPECT_EQ(reason_to_keep({.newest = 3, .every = 5}, 11, 3), "");
  EXPECT_EQ(reason_to_keep({.newest = 3}, 10, 3), "");
}

TEST(Retention, KeepsTheNewestAndEveryKth) {
  TemporaryFolder folder;
  CheckpointRun run({.keep = 2});
  run.config.mutable_checkpoint()->set_keep_every(3);
  for (int step = 1; step <= 8; ++step) run.save(folder.path(), step);
  EXPECT_THAT(steps_in(folder.path()), ElementsAre(3, 6, 7, 8));
  prune_checkpoints(folder.path(), {.newest = 1, .every = 6});
  EXPECT_THAT(steps_in(folder.path()), ElementsAre(6, 8));
}

TEST(CheckpointTools, SetsLaterCheckpointsAside) {
  TemporaryFolder folder;
  CheckpointRun run;
  for (const int round : {1, 2}) {
    for (const int step : {2, 4, 6}) {
      if (round == 1 || step > 2) run.save(folder.path(), step);
    }
    EXPECT_EQ(set_later_checkpoints_aside(folder.path(), 2).size(), 2u);
    EXPECT_THAT(steps_in(folder.path()), ElementsAre(2));
  }
  EXPECT_THAT(names_in(folder / "checkpoints"),
              ElementsAre("set-aside-step-00000004", "set-aside-step-00000004-2", "set-aside-step-00000006",
                          "set-aside-step-00000006-2", "step-00000002"));
  run.load(folder / "checkpoints/set-aside-step-00000006-2");
  EXPECT_TRUE(run.holds(6));
  EXPECT_THAT(set_later_checkpoints_aside(folder.path(), 2), IsEmpty());
}

TEST(CheckpointTools, FindsTheCheckpointOfAStep) {
  TemporaryFolder folder;
  CheckpointRun run;
  for (const int step : {2, 4}) run.save(folder.path(), step);
  EXPECT_EQ(checkpoint_of_step(folder.path(), 2), checkpoint_path(folder.path(), 2));
  EXPECT_THAT(error_of([&] { checkpoint_of_step(folder.path(), 3); }),
              HasSubstr("has no checkpoint of step 3, expected one of [2, 4]"));
  fs::remove(checkpoint_path(folder.path(), 4) / "shard-00000-of-00001.safetensors");
  EXPECT_THAT(error_of([&] { checkpoint_of_step(folder.path(), 4); }),
              AllOf(HasSubstr("shard-00000"), HasSubstr("to go on from")));
}

TEST(CheckpointTools, FindsAllDamage) {
  TemporaryFolder folder;
  CheckpointRun().save(folder.path(), 1);
  const fs::path shard = checkpoint_path(folder.path(), 1) / "shard-00000-of-00001.safetensors";
  const CheckpointReader reader(checkpoint_path(folder.path(), 1));
  std::int64_t num_read = 0;
  EXPECT_THAT(reader.find_damage([&](std::int64_t bytes) { num_read += bytes; }), IsEmpty());
  const SafetensorsFile file(shard);
  EXPECT_GT(num_read, file.num_bytes() / 2);
  for (const char* key : {"layers.1.weight", "layers.4.weight#exp_avg"}) {
    std::fstream bytes(shard, std::ios::binary | std::ios::in | std::ios::out);
    bytes.seekp(file.find(key).begin);
    bytes.put('x');
  }
  const std::vector<std::string> damage = reader.find_damage();
  ASSERT_EQ(damage.size(), 2u);
  EXPECT_THAT(damage[0], AllOf(HasSubstr(shard.string()), HasSubstr("layers.1.weight")));
  EXPECT_THAT(damage[1], AllOf(HasSubstr(shard.string()), HasSubstr("layers.4.weight#exp_avg")));
  fs::resize_file(shard, 100);
  EXPECT_THAT(CheckpointReader(checkpoint_path(folder.path(), 1)).find_damage(),
              ElementsAre(HasSubstr(shard.string())));
}

TEST(CheckpointTools, DifferencesOfWeights) {
  TemporaryFolder folder;
  CheckpointRun run;
  run.save(folder.path(), 1);
  run.save(folder.path(), 2);
  const CheckpointReader a(checkpoint_path(folder.path(), 1)), b(checkpoint_path(folder.path(), 2));
  for (const WeightDifference& same : difference_of(a, a)) EXPECT_EQ(same.relative(), 0) << same.parameter;
  const std::vector<WeightDifference> differences = difference_of(a, b);
  ASSERT_EQ(differences.size(), run.store.parameters().size());
  double squares = 0, squares_of_difference = 0, largest = 0;
  for (std::int64_t i = 0; i < 16 * 12; ++i) {
    const double x = CheckpointRun::expected("layers.1.weight", "weight", 1, i);
    const double y = CheckpointRun::expected("layers.1.weight", "weight", 2, i);
    squares += x * x;
    squares_of_difference += (y - x) * (y - x);
    largest = std::max(largest, std::abs(y - x));
  }
  EXPECT_EQ(differences[1].parameter, "layers.1.weight");
  EXPECT_NEAR(differences[1].relative(), std::sqrt(squares_of_difference / squares), 1e-12);
  EXPECT_EQ(differences[1].largest, largest);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  WeightDifference all;
  all.add({.squares_difference = 1, .largest = nan});
  all.add({.squares_difference = 1, .largest = 3});
  EXPECT_TRUE(std::isnan(all.largest));
  EXPECT_TRUE(std::isinf(all.relative()));

  TemporaryFolder other;
  CheckpointRun({.shapes = {{7, 5}, {16, 13}}}).save(other.path(), 1);
  EXPECT_THAT(error_of([&] { difference_of(a, CheckpointReader(checkpoint_path(other.path(), 1))); }),
              AllOf(HasSubstr("layers.1.weight"), HasSubstr("[16, 12]"), HasSubstr("[16, 13]")));
}

TEST(CheckpointTools, OneFileOfAllWeights) {
  TemporaryFolder folder;
  CheckpointRun run({.bucket_bytes = 200});
  run.config.mutable_data()->set_tokenizer("byte");
  run.save(folder.path(), 3);
  consolidate(CheckpointReader(checkpoint_path(folder.path(), 3)), folder.path());
  const SafetensorsFile file(folder / "model.safetensors");
  EXPECT_EQ(file.entries().size(), run.store.parameters().size());
  for (const Parameter& parameter : run.store.parameters()) {
    EXPECT_TRUE(same_bits(file.read(parameter.spec.name), parameter.value)) << parameter.spec.name;
  }
  const auto config = nlohmann::json::parse(read_file(folder / "config.json"));
  EXPECT_EQ(config["model"]["width"], 64);
  EXPECT_EQ(config["tokenizer"], "byte");
  EXPECT_EQ(config["logit_multiplier"], run.forward_multipliers.logits);
  EXPECT_EQ(config["residual_multiplier"], 1);
  EXPECT_EQ(config["step"], 3);
}

}  // namespace
}  // namespace mudelta::testing
