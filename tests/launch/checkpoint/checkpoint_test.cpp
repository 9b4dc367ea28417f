
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/manifest.h"
#include "tests/launch/checkpoint/checkpoint_run.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kNoError = "no error was thrown";
const std::string kShard = "shard-00000-of-00001.safetensors";

std::vector<std::string> checkpoint_names(const TemporaryFolder& run) { return names_in(run / "checkpoints"); }

void flip_byte(const fs::path& path, std::size_t at) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(at));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(byte ^ 1));
  file.close();
  ASSERT_TRUE(file.good()) << path;
}

TEST(CheckpointTest, GivesBackEveryBit) {
  for (const OptimizerKind optimizer : {OptimizerKind::kAdamW, OptimizerKind::kSgd}) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      for (const std::int64_t bucket_bytes : {1, 500, 1 << 20}) {
        const CheckpointRunOptions options = {
            .optimizer = optimizer, .compute_dtype = dtype, .bucket_bytes = bucket_bytes};
        TemporaryFolder folder;
        CheckpointRun(options).save(folder.path(), 7, 2);
        EXPECT_THAT(checkpoint_names(folder), ElementsAre("step-00000007"));

        CheckpointRun loaded(options);
        const TrainingState state = loaded.load(folder / "checkpoints/step-00000007");
        EXPECT_EQ(state.SerializeAsString(), CheckpointRun::state_of(7, 2).SerializeAsString());
        EXPECT_TRUE(loaded.holds(7)) << "bucket_bytes " << bucket_bytes;
      }
    }
  }
}

// Buckets cut parameters differently in the run that loads; the checkpoint's elements are global.
TEST(CheckpointTest, LoadsIntoOtherSegments) {
  TemporaryFolder folder;
  CheckpointRun({.bucket_bytes = 256}).save(folder.path(), 3);
  CheckpointRun loaded({.bucket_bytes = 640});
  loaded.load(checkpoint_path(folder.path(), 3));
  EXPECT_TRUE(loaded.holds(3));
}

TEST(CheckpointTest, UninterruptedParametersBearTheirNamesAndShapes) {
  TemporaryFolder folder;
  CheckpointRun run;
  run.save(folder.path(), 1);
  const SafetensorsFile shard(checkpoint_path(folder.path(), 1) / kShard);
  EXPECT_EQ(shard.entries().size(), 3 * run.store.parameters().size());
  EXPECT_EQ(shard.find("layers.4.weight").shape, (Shape{2, 3, 31}));
  EXPECT_EQ(shard.find("layers.0.weight#exp_avg_sq").shape, (Shape{7, 5}));

  const CheckpointManifest manifest = read_manifest(checkpoint_path(folder.path(), 1));
  EXPECT_EQ(manifest.ranks(), 1);
  EXPECT_EQ(manifest.optimizer(), "ADAMW");
  EXPECT_EQ(manifest.optimizer_updates(), 1);
  EXPECT_EQ(manifest.logit_multiplier(), run.forward_multipliers.logits);
  EXPECT_FALSE(manifest.has_residual_multiplier()) << "earlier versions can read it";
  EXPECT_EQ(manifest.config().SerializeAsString(), run.config.SerializeAsString());
  ASSERT_EQ(manifest.parameters_size(), 5);
  EXPECT_EQ(manifest.parameters(1).name(), "layers.1.weight");
  EXPECT_EQ(manifest.parameters(1).role(), "HIDDEN");
  EXPECT_EQ(manifest.parameters(1).init_multiplier(), run.scaling[1].init);
  EXPECT_EQ(manifest.parameters(1).lr_multiplier(), run.scaling[1].lr);
  EXPECT_EQ(manifest.parameters(1).eps_multiplier(), run.scaling[1].eps);
  EXPECT_EQ(manifest.parameters(1).decay_multiplier(), run.scaling[1].decay);
  EXPECT_THAT(read_file(checkpoint_path(folder.path(), 1) / kManifestName), Not(HasSubstr("slice")));
}

TEST(CheckpointTest, WeightsAloneForInference) {
  TemporaryFolder folder;
  CheckpointRun({.optimizer = OptimizerKind::kSgd, .bucket_bytes = 300}).save(folder.path(), 5);
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    CheckpointRun target({.compute_dtype = dtype});
    load_weights(CheckpointReader(resolve_checkpoint(folder.path())), target.store);
    EXPECT_TRUE(target.values_are(5));
  }
  CheckpointRun other({.shapes = {{7, 5}, {16, 12}, {3}, {1}, {2, 31, 3}}});
  EXPECT_THAT(error_of([&] { load_weights(CheckpointReader(resolve_checkpoint(folder.path())), other.store); }),
              AllOf(HasSubstr("shape of layers.4.weight"), HasSubstr("[2, 3, 31]"), HasSubstr("[2, 31, 3]")));
}

RC_GTEST_PROP(CheckpointProperty, AnyRangeOfAnyState, ()) {
  static const TemporaryFolder folder;
  static const bool is_saved = [] {
    CheckpointRun({.bucket_bytes = 200}).save(folder.path(), 4);
    return true;
  }();
  RC_ASSERT(is_saved);
  const CheckpointReader reader(checkpoint_path(folder.path(), 4));
  const auto begin = *rc::gen::inRange<std::int64_t>(0, 193);
  const auto end = *rc::gen::inRange<std::int64_t>(begin, 193);
  const std::string state = *rc::gen::element<std::string>("weight", "exp_avg", "exp_avg_sq");
  std::vector<float> out(static_cast<std::size_t>(end - begin));
  reader.read("layers.1.weight", state, {}, begin, out);
  for (std::size_t i = 0; i < out.size(); ++i) {
    RC_ASSERT(out[i] == CheckpointRun::expected("layers.1.weight", state, 4, begin + static_cast<std::int64_t>(i)));
  }
}

TEST(CheckpointTest, RefusesARangeThatIsNotThere) {
  TemporaryFolder folder;
  CheckpointRun().save(folder.path(), 1);
  const CheckpointReader reader(checkpoint_path(folder.path(), 1));
  std::vector<float> out(36);
  const auto error_of_reading = [&](const char* parameter, const char* state, const ParameterSlice& slice) {
    return error_of([&] { reader.read(parameter, state, slice, 0, out); });
  };
  EXPECT_THAT(error_of_reading("layers.0.weight", "weight", {}), HasSubstr("elements 0 to 36 of layers.0.weight"));
  EXPECT_THAT(error_of_reading("layers.1.weight", "weight", {1, 2, 4}), HasSubstr("expected some of 32"));
  EXPECT_THAT(error_of_reading("layers.1.weight", "weight", {1, 2, 13}), HasSubstr("expected a part of [16, 12]"));
  EXPECT_THAT(error_of_reading("layers.1.weight", "momentum_buffer", {}), HasSubstr("holds 0"));
  EXPECT_THAT(error_of_reading("absent", "weight", {}), HasSubstr("absent"));
}

TEST(CheckpointTest, KeepsTheNewest) {
  TemporaryFolder folder;
  CheckpointRun run({.keep = 2});
  for (const std::int64_t step : {5, 10, 99999999, 100000000}) run.save(folder.path(), step);
  EXPECT_THAT(checkpoint_names(folder), ElementsAre("step-100000000", "step-99999999"));
  EXPECT_EQ(newest_checkpoint(folder.path()), checkpoint_path(folder.path(), 100000000));

  TemporaryFolder all;
  CheckpointRun keeper({.keep = 0});
  for (const std::int64_t step : {1, 2, 3}) keeper.save(all.path(), step);
  EXPECT_THAT(checkpoint_names(all), ElementsAre("step-00000001", "step-00000002", "step-00000003"));
}

TEST(CheckpointTest, ASkippedStepRemovesNoCheckpoint) {
  TemporaryFolder folder;
  CheckpointRun run({.keep = 1});
  run.save(folder.path(), 1);
  run.save(folder.path(), 2, 1);
  run.save(folder.path(), 3, 2);
  EXPECT_THAT(checkpoint_names(folder), ElementsAre("step-00000001", "step-00000002", "step-00000003"));
  run.save(folder.path(), 4);
  EXPECT_THAT(checkpoint_names(folder), ElementsAre("step-00000004"));
}

TEST(CheckpointTest, ClearsLeftoversAndNothingElse) {
  TemporaryFolder folder;
  const fs::path checkpoints = folder / "checkpoints";
  for (const char* name : {".tmp-step-00000003", ".trash-step-00000001", "step-notes", "step-12", "mine"}) {
    fs::create_directories(checkpoints / name);
    write_file(checkpoints / name / "file", "x");
  }
  EXPECT_TRUE(list_checkpoints(folder.path()).empty());
  EXPECT_EQ(newest_checkpoint(folder.path()), std::nullopt);
  CheckpointRun run({.keep = 1});
  run.save(folder.path(), 3);
  run.save(folder.path(), 4);
  EXPECT_THAT(checkpoint_names(folder), ElementsAre("mine", "step-00000004", "step-12", "step-notes"));

  fs::create_directories(checkpoints / ".trash-step-00000003");
  remove_leftovers(folder.path());
  EXPECT_THAT(checkpoint_names(folder), ElementsAre("mine", "step-00000004", "step-12", "step-notes"));
}

TEST(CheckpointTest, ResolvesCheckpointsAndRuns) {
  TemporaryFolder folder;
  EXPECT_EQ(newest_checkpoint(folder / "absent"), std::nullopt);
  EXPECT_THAT(error_of([&] { resolve_checkpoint(folder / "absent"); }),
              AllOf(HasSubstr("absent"), HasSubstr("neither a checkpoint")));
  CheckpointRun run;
  run.save(folder.path(), 1);
  run.save(folder.path(), 2);
  EXPECT_EQ(resolve_checkpoint(folder.path()), checkpoint_path(folder.path(), 2));
  EXPECT_EQ(resolve_checkpoint(checkpoint_path(folder.path(), 1)), checkpoint_path(folder.path(), 1));
}

TEST(CheckpointTest, RefusesToSaveAStepThatIsNotNew) {
  TemporaryFolder folder;
  CheckpointRun run;
  run.save(folder.path(), 5);
  for (const std::int64_t step : {5, 4}) {
    EXPECT_THAT(error_of([&] { run.save(folder.path(), step); }),
                AllOf(HasSubstr(fmt::format("of step {}", step)), HasSubstr("step-00000005")));
  }
  EXPECT_THAT(checkpoint_names(folder), ElementsAre("step-00000005"));
  run.load(checkpoint_path(folder.path(), 5));
  EXPECT_TRUE(run.holds(5));
}

TEST(CheckpointTest, RefusesADamagedShard) {
  TemporaryFolder folder;
  CheckpointRun run;
  run.save(folder.path(), 1);
  const fs::path shard = checkpoint_path(folder.path(), 1) / kShard;
  const std::string whole = read_file(shard);
  const auto error_of_loading = [&] { return error_of([&] { run.load(checkpoint_path(folder.path(), 1)); }); };
  ASSERT_EQ(error_of_loading(), kNoError);

  // Bytes of the header's length, of the header, and of the first, a middle and the last element.
  for (const std::size_t at : {std::size_t{0}, std::size_t{40}, whole.size() - 1500 * 4, whole.size() - 1}) {
    flip_byte(shard, at);
    EXPECT_THAT(error_of_loading(), HasSubstr(kShard)) << "byte " << at;
    flip_byte(shard, at);
  }
  write_file(shard, whole.substr(0, whole.size() - 1));
  EXPECT_THAT(error_of_loading(), HasSubstr(kShard));
  write_file(shard, whole + "x");
  EXPECT_THAT(error_of_loading(), AllOf(HasSubstr(kShard), HasSubstr("bytes")));
  write_safetensors(shard, {}, {});
  EXPECT_THAT(error_of_loading(), AllOf(HasSubstr(kShard), HasSubstr("has 16 bytes, expected"), HasSubstr("manifest")));
  fs::remove(shard);
  EXPECT_THAT(error_of_loading(), AllOf(HasSubstr(kShard), HasSubstr("No such file")));
  write_file(shard, whole);
  EXPECT_EQ(error_of_loading(), kNoError);
}

// A flipped bit in the data keeps the format intact: only the checksum tells.
TEST(CheckpointTest, TheChecksumNamesFileAndTensor) {
  TemporaryFolder folder;
  CheckpointRun run;
  run.save(folder.path(), 1);
  const fs::path shard = checkpoint_path(folder.path(), 1) / kShard;
  flip_byte(shard, fs::file_size(shard) - 1);
  const std::string message = error_of([&] { run.load(checkpoint_path(folder.path(), 1)); });
  EXPECT_THAT(message, AllOf(HasSubstr(shard.string()), HasSubstr("damaged"), HasSubstr("layers.4.weight#exp_avg_sq"),
                             HasSubstr("checksum")));
}

TEST(CheckpointTest, AFlippedBitInAnyByteOfTheManifestIsSeen) {
  TemporaryFolder folder;
  CheckpointRun run({.shapes = {{2}, {1}}});
  run.save(folder.path(), 1);
  const fs::path manifest = checkpoint_path(folder.path(), 1) / kManifestName;
  for (std::size_t at = 0; at < fs::file_size(manifest); ++at) {
    flip_byte(manifest, at);
    EXPECT_THAT(error_of([&] { read_manifest(manifest.parent_path()); }), HasSubstr(manifest.string())) << at;
    flip_byte(manifest, at);
  }
  EXPECT_EQ(error_of([&] { read_manifest(manifest.parent_path()); }), kNoError);
}

TEST(CheckpointTest, ADamagedNewestIsNamedWithTheSoundOneBeforeIt) {
  TemporaryFolder folder;
  CheckpointRun run;
  for (const std::int64_t step : {1, 2, 3, 4, 5}) run.save(folder.path(), step);
  const auto find = [&] { return error_of([&] { newest_checkpoint(folder.path()); }); };

  fs::remove(checkpoint_path(folder.path(), 5) / kManifestName);
  EXPECT_THAT(find(), AllOf(HasSubstr("step-00000005/manifest.textproto"), HasSubstr("go on from"),
                            HasSubstr("step-00000004 instead")));
  // One that cannot be loaded is no advice, whatever is wrong with it.
  const fs::path shard = checkpoint_path(folder.path(), 4) / kShard;
  flip_byte(shard, fs::file_size(shard) - 1);
  EXPECT_THAT(find(), HasSubstr("step-00000003 instead"));
  fs::remove(checkpoint_path(folder.path(), 3) / kShard);
  EXPECT_THAT(find(), HasSubstr("step-00000002 instead"));
  write_file(checkpoint_path(folder.path(), 2) / kManifestName, "");
  EXPECT_THAT(find(), HasSubstr("step-00000001 instead"));
  fs::remove_all(checkpoint_path(folder.path(), 1));
  EXPECT_THAT(find(), HasSubstr("no older checkpoint"));
  for (const CheckpointFolder& left : list_checkpoints(folder.path())) fs::remove_all(left.path);
  EXPECT_EQ(newest_checkpoint(folder.path()), std::nullopt);
}

TEST(CheckpointTest, ADamagedShardComesWithAdviceToo) {
  TemporaryFolder folder;
  CheckpointRun run;
  for (const std::int64_t step : {1, 2}) run.save(folder.path(), step);
  const fs::path newest = checkpoint_path(folder.path(), 2), shard = newest / kShard;
  flip_byte(shard, fs::file_size(shard) - 1);
  const std::string advice = "to go on from " + checkpoint_path(folder.path(), 1).string() + " instead, remove";
  EXPECT_THAT(error_of([&] { run.load(*newest_checkpoint(folder.path())); }),
              AllOf(HasSubstr("damaged"), HasSubstr(advice)));
  fs::remove(shard);
  EXPECT_THAT(error_of([&] { load_weights(CheckpointReader(newest), run.store); }), HasSubstr(advice));
  EXPECT_THAT(error_of([&] { newest_checkpoint(folder.path()); }), AllOf(HasSubstr("No such file"), HasSubstr(advice)));
}

TEST(CheckpointTest, AFolderIsTheCheckpointOfItsName) {
  TemporaryFolder folder;
  CheckpointRun().save(folder.path(), 3);
  fs::rename(checkpoint_path(folder.path(), 3), checkpoint_path(folder.path(), 7));
  EXPECT_THAT(error_of([&] { newest_checkpoint(folder.path()); }),
              HasSubstr("step-00000007 holds the checkpoint of step 3"));
  EXPECT_THAT(error_of([&] { CheckpointReader reader(checkpoint_path(folder.path(), 7) / ""); }),
              HasSubstr("holds the checkpoint of step 3"));
  fs::rename(checkpoint_path(folder.path(), 7), folder / "best");
  EXPECT_EQ(error_of([&] { CheckpointReader reader(folder / "best"); }), kNoError);
}

class CheckpointMismatchTest : public ::testing::Test {
 protected:
  void SetUp() override { CheckpointRun().save(folder_.path(), 1); }
  std::string error_of_loading(CheckpointRun& run) {
    return error_of([&] { run.load(checkpoint_path(folder_.path(), 1)); });
  }
  TemporaryFolder folder_;
};

TEST_F(CheckpointMismatchTest, AnotherModel) {
  CheckpointRun wider;
  wider.config.mutable_model()->set_width(128);
  EXPECT_THAT(error_of_loading(wider),
              AllOf(HasSubstr("step-00000001"), HasSubstr("model.width is 64 in the checkpoint, 128 here")));
  CheckpointRun recomputing;
  recomputing.config.mutable_model()->set_recompute(ModelConfig::FULL);
  EXPECT_EQ(error_of_loading(recomputing), kNoError);
}

TEST(CheckpointOfAnEarlierVersion, KeepsTheEpsOfTheReadoutsNorm) {
  for (const auto& [query_scale, eps] : {std::pair{ModelConfig::RMS, 0.5}, std::pair{ModelConfig::INV_SQRT, 32.0}}) {
    const TemporaryFolder folder;
    CheckpointRun earlier;
    earlier.config.mutable_model()->set_head_dim(8);
    earlier.config.mutable_model()->set_norm_eps(0.5);
    earlier.config.mutable_model()->set_query_scale(query_scale);
    earlier.save(folder.path(), 1);
    const auto error_of_loading = [&](CheckpointRun& run) {
      return error_of([&] { run.load(checkpoint_path(folder.path(), 1)); });
    };
    EXPECT_EQ(error_of_loading(earlier), kNoError);

    CheckpointRun present;
    present.config = earlier.config;
    present.config.mutable_model()->clear_query_scale();
    present.config.mutable_model()->set_o_norm_eps(eps);
    EXPECT_EQ(error_of_loading(present), kNoError);
    present.config.mutable_model()->set_o_norm_eps(0.25);
    EXPECT_THAT(error_of_loading(present),
                HasSubstr(fmt::format("model.o_norm_eps is {} in the checkpoint, 0.25 here", eps)));
  }
}

TEST_F(CheckpointMismatchTest, OtherParameters) {
  CheckpointRun reshaped({.shapes = {{5, 7}, {16, 12}, {3}, {1}, {2, 3, 31}}});
  EXPECT_THAT(error_of_loading(reshaped), HasSubstr("shape of layers.0.weight is [7, 5] in the checkpoint, [5, 7]"));
  CheckpointRun fewer({.shapes = {{7, 5}, {16, 12}, {3}, {1}}});
  EXPECT_THAT(error_of_loading(fewer), HasSubstr("number of parameters is 5 in the checkpoint, 4 here"));
  CheckpointRun more({.shapes = {{7, 5}, {16, 12}, {3}, {1}, {2, 3, 31}, {1}}});
  EXPECT_THAT(error_of_loading(more), HasSubstr("number of parameters is 5 in the checkpoint, 6 here"));
}

TEST_F(CheckpointMismatchTest, AnotherOptimizerOrOtherMultipliers) {
  CheckpointRun sgd({.optimizer = OptimizerKind::kSgd});
  EXPECT_THAT(error_of_loading(sgd), HasSubstr("the optimizer is ADAMW in the checkpoint, SGD here"));
  CheckpointRun run;
  run.forward_multipliers.logits = 0.5;
  EXPECT_THAT(error_of_loading(run), HasSubstr("the logit multiplier is 0.333"));
  CheckpointRun deep;
  deep.forward_multipliers.residual = 0.5;
  EXPECT_THAT(error_of_loading(deep), HasSubstr("the residual multiplier is 1 in the checkpoint, 0.5 here"));

  const auto error_with = [&](auto change) {
    CheckpointRun changed;
    change(changed.scaling[3]);
    return error_of_loading(changed);
  };
  EXPECT_THAT(error_with([](auto& scaling) { scaling.init *= 2; }), HasSubstr("init multiplier of layers.3.weight"));
  EXPECT_THAT(error_with([](auto& scaling) { scaling.lr *= 2; }), HasSubstr("lr multiplier of layers.3.weight"));
  EXPECT_THAT(error_with([](auto& scaling) { scaling.eps *= 2; }), HasSubstr("eps multiplier of layers.3.weight"));
  EXPECT_THAT(error_with([](auto& scaling) { scaling.decay = 0; }), HasSubstr("decay multiplier of layers.3.weight"));
  for (const double value : {NAN, INFINITY, -INFINITY}) {
    EXPECT_THAT(error_with([&](auto& scaling) { scaling.lr = value; }), HasSubstr("lr multiplier of layers.3.weight"));
  }
  EXPECT_EQ(error_with([](auto& scaling) { scaling.lr *= 1 + 1e-15; }), kNoError);
}

TEST_F(CheckpointMismatchTest, AnotherDataSet) {
  const auto error_with = [&](auto change) {
    CheckpointRun run;
    change(run.data_set);
    return error_of_loading(run);
  };
  EXPECT_THAT(error_with([](DatasetInfo& data) { data.train[1].xxh64 = "0000000000000000"; }),
              HasSubstr("shard 1 of the train split of the data set is 50 tokens with checksum fedcba9876543210 in the "
                        "checkpoint, 50 tokens with checksum 0000000000000000 here"));
  EXPECT_THAT(error_with([](DatasetInfo& data) { data.train.pop_back(); }),
              HasSubstr("the number of shards of the train split of the data set is 2 in the checkpoint, 1 here"));
  EXPECT_THAT(error_with([](DatasetInfo& data) { data.validation[0].num_tokens = 11; }),
              HasSubstr("shard 0 of the validation split"));
  EXPECT_EQ(error_with([](DatasetInfo& data) { data.train[0].file = "renamed.bin"; }), kNoError);
}

TEST(CheckpointTest, ManifestsWithoutADataSetStillLoad) {
  TemporaryFolder folder;
  CheckpointRun run;
  CheckpointContext context = run.context();
  context.data_set = nullptr;
  save_checkpoint(folder.path(), context, CheckpointRun::state_of(1), run.optimizer, run.group);
  EXPECT_FALSE(read_manifest(checkpoint_path(folder.path(), 1)).has_data_set());
  EXPECT_NO_THROW(run.load(checkpoint_path(folder.path(), 1)));
}

TEST_F(CheckpointMismatchTest, AnotherOrderOfTheData) {
  const auto error_with = [&](auto change) {
    CheckpointRun run;
    change(run.config);
    return error_of_loading(run);
  };
  EXPECT_THAT(error_with([](RunConfig& config) { config.mutable_train()->set_seed(2); }), HasSubstr("train.seed is 1"));
  EXPECT_THAT(error_with([](RunConfig& config) { config.mutable_train()->set_global_batch(7); }),
              HasSubstr("train.global_batch is 16 in the checkpoint, 7 here"));
  EXPECT_THAT(error_with([](RunConfig& config) { config.mutable_train()->set_sequence_length(7); }),
              HasSubstr("train.sequence_length"));
  EXPECT_THAT(error_with([](RunConfig& config) { config.mutable_data()->set_reset_at_documents(false); }),
              HasSubstr("data.reset_at_documents is true in the checkpoint, false here"));
  EXPECT_THAT(error_with([](RunConfig& config) { config.mutable_data()->set_shuffle(false); }),
              HasSubstr("data.shuffle"));
  EXPECT_EQ(error_with([](RunConfig& config) { config.mutable_train()->set_steps(7); }), kNoError);
}

// The limit on file sizes stands for a full disk: writing fails in the middle of the shard, or of the manifest.
TEST(CheckpointTest, AFullDiskLeavesTheOldCheckpoint) {
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  struct Case {
    std::vector<Shape> shapes;
    std::string file;
  };
  for (const Case& c : {Case{{{1000}}, kShard}, Case{{{1}, {1}}, std::string(kManifestName)}}) {
    TemporaryFolder folder;
    CheckpointRun run({.keep = 1, .shapes = c.shapes});
    run.save(folder.path(), 1);
    // The shard of the small run fits, its manifest does not.
    const rlimit small = {900, limit.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const std::string message = error_of([&] { run.save(folder.path(), 2); });
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    EXPECT_THAT(message, AllOf(HasSubstr(c.file), HasSubstr("File too large")));
    EXPECT_THAT(checkpoint_names(folder), ElementsAre("step-00000001"));
    run.load(*newest_checkpoint(folder.path()));
    EXPECT_TRUE(run.holds(1));
    run.save(folder.path(), 2);
    EXPECT_THAT(checkpoint_names(folder), ElementsAre("step-00000002"));
  }
  std::signal(SIGXFSZ, previous);
}

TEST(CheckpointTest, AFolderThatCannotBeMadeIsNamed) {
  TemporaryFolder folder;
  write_file(folder / "checkpoints", "a file in the way");
  CheckpointRun run;
  EXPECT_THAT(error_of([&] { run.save(folder.path(), 1); }), HasSubstr("checkpoints"));
}

}  // namespace
}  // namespace mudelta::testing
