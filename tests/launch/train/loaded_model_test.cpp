#include "launch/train/loaded_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/checkpoint_save.h"
#include "launch/checkpoint/manifest.h"
#include "launch/config/run_config.h"
#include "launch/train/scaling.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

RunConfig small_run() {
  RunConfig config;
  *config.mutable_model() = resolve(small_config());
  return with_defaults(config);
}

// Saves a model with its initial weights after `change` to them.
void save(const std::filesystem::path& run_dir, const std::function<void(ParameterStore&)>& change) {
  const RunConfig config = small_run();
  const ProcessGroup alone = ProcessGroup::single();
  const Parametrization parametrization = make_parametrization(config);
  StoredModel stored(config, {});
  initialize(stored.store, 1);
  change(stored.store);
  ParameterShards shards(stored.store, alone, 1 << 20);
  Optimizer optimizer(config.optimizer(), stored.store, shards, parametrization.scaling(), alone);
  TrainingState state;
  state.set_step(1);
  save_checkpoint(run_dir, {config, stored.store, parametrization.scaling(), {}}, state, optimizer, alone);
}

std::string error_of_loading(const TemporaryFolder& run) {
  return error_of([&] { LoadedModel loaded(run.path()); });
}

TEST(LoadedModel, HasTheConfigurationOfItsParameters) {
  const TemporaryFolder run;
  save(run.path(), [](ParameterStore&) {});
  const std::filesystem::path checkpoint = checkpoint_path(run.path(), 1);
  const CheckpointManifest good = read_manifest(checkpoint);
  const auto error_with = [&](const std::function<void(ModelConfig&)>& change) {
    CheckpointManifest manifest = good;
    change(*manifest.mutable_config()->mutable_model());
    write_manifest(checkpoint, manifest);
    return error_of_loading(run);
  };
  EXPECT_EQ(error_with([](ModelConfig&) {}), "no error was thrown");
  EXPECT_THAT(error_with([](ModelConfig& c) { c.set_layers(-1); }),
              AllOf(HasSubstr("step-00000001"), HasSubstr("model.layers is -1, expected at least 1")));
  EXPECT_THAT(error_with([](ModelConfig& c) { c.set_layers(3); }),
              HasSubstr("the name of parameter 37 is model.norm.weight"));
  EXPECT_THAT(error_with([](ModelConfig& c) { c.set_layers(1'000'000); }), HasSubstr("model.layers is 1000000"));
  EXPECT_THAT(error_with([](ModelConfig& c) { c.set_mlp_size(std::int64_t{1} << 55); }),
              HasSubstr("model.mlp_size is 36028797018963968"));
  EXPECT_THAT(error_with([](ModelConfig& c) { c.set_vocab_size(20'000'000); }),
              HasSubstr("the shape of model.embeddings.weight is [11, 12] in the checkpoint, [20000000, 12] here"));
  EXPECT_THAT(error_with([](ModelConfig& c) { c.set_vocab_size(2'000'000'000), c.set_width(1'000'000'000); }),
              HasSubstr("of memory are needed"));
}

TEST(LoadedModel, HasFiniteWeights) {
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const TemporaryFolder run;
    save(run.path(), [&](ParameterStore& store) { store.find("model.norm.weight").value.span<float>()[5] = wrong; });
    EXPECT_THAT(error_of_loading(run), AllOf(HasSubstr("step-00000001"), HasSubstr("element 5 of model.norm.weight is"),
                                             HasSubstr("expected finite weights")));
  }
}

}  // namespace
}  // namespace mudelta::testing
