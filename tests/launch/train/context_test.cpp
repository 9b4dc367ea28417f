// Training over context ranks, from a data set on, against one process: what went wrong in other frameworks. Run under
// mpirun; rows are 128 tokens long.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/rng.h"
#include "launch/config/run_config.h"
#include "launch/train/trainer.h"
#include "model/config.h"
#include "tests/data/support.h"

namespace mudelta::testing {
namespace {

constexpr std::int64_t kLength = 128, kBatch = 2;

// Documents of these lengths again and again: a separator, and random bytes after it.
std::vector<std::int32_t> documents(const std::vector<std::int64_t>& lengths, std::int64_t rows) {
  const CounterRng rng(3, "documents");
  std::vector<std::int32_t> tokens;
  while (static_cast<std::int64_t>(tokens.size()) <= rows * kLength) {
    for (const std::int64_t length : lengths) {
      tokens.push_back(kSeparator);
      for (std::int64_t i = 1; i < length; ++i) {
        tokens.push_back(static_cast<std::int32_t>(rng.bits(tokens.size()) % 100));
      }
    }
  }
  return tokens;
}

class Context : public ::testing::Test {
 protected:
  RunConfig config_of(const std::vector<std::int64_t>& lengths) const {
    write_dataset(folder_.path(), documents(lengths, 3 * kBatch), 1'000'000, kSeparator + 1, documents(lengths, 5));
    RunConfig config;
    config.mutable_data()->set_path(folder_.path().string());
    config.mutable_data()->set_shuffle(false);
    ModelConfig& model = *config.mutable_model();
    model.set_width(12);
    model.set_layers(2);
    model.set_heads(2);
    model.set_value_heads(2);
    model.set_head_dim(5);
    model.set_mlp_size(15);
    model.set_vocab_size(kSeparator + 1);
    model.set_init_std(0.3);
    model.set_conv_init_std(0.5);
    model.set_norm_eps(1e-2);
    model = resolve(model);
    config.mutable_train()->set_sequence_length(kLength);
    config.mutable_train()->set_global_batch(kBatch);
    config.mutable_train()->set_micro_batch(1);
    config.mutable_optimizer()->mutable_sgd()->set_lr(0.05);
    return with_defaults(config);
  }

  void expect_as_one_process(const std::vector<std::int64_t>& lengths) const {
    const RunConfig alone_config = config_of(lengths);
    RunConfig config = alone_config;
    config.mutable_parallel()->set_context(world_.size());
    Trainer trainer(config, Mesh(world_, config.parallel())), alone(alone_config, Mesh());
    const auto expect_same_evaluation = [&] {
      const Evaluation evaluation = trainer.evaluate().value(), expected = alone.evaluate().value();
      EXPECT_NEAR(evaluation.loss, expected.loss, 1e-5);
      EXPECT_EQ(evaluation.tokens, expected.tokens);
      EXPECT_EQ(evaluation.bytes, expected.bytes);
    };
    expect_same_evaluation();
    for (int step = 0; step < 3; ++step) {
      const TrainStep got = trainer.step(), expected = alone.step();
      EXPECT_NEAR(got.loss, expected.loss, 1e-5) << "step " << step;
      EXPECT_NEAR(got.gradient_norm, expected.gradient_norm, 2e-5 * expected.gradient_norm) << "step " << step;
    }
    expect_same_evaluation();
  }

  const ProcessGroup world_ = ProcessGroup::world();
  TemporaryFolder folder_;  // a rank's own
};

TEST_F(Context, DocumentsThatCrossEdges) { expect_as_one_process({37, 51, 40}); }

TEST_F(Context, ADocumentThatIsLongerThanRows) { expect_as_one_process({1000}); }

TEST_F(Context, EmptyDocumentsAndThoseOfOneToken) {
  expect_as_one_process({1});
  expect_as_one_process({1, 1, 2, 1, 1, 3, 1, 60, 1, 1, 1, 2});
}

TEST_F(Context, DocumentsThatEndAtEdges) {
  expect_as_one_process({64});
  expect_as_one_process({32, 33, 31, 32});
}

TEST_F(Context, DocumentsAreOneWithoutResets) {
  RunConfig config = config_of({3, 50});
  config.mutable_data()->set_reset_at_documents(false);
  RunConfig cut = config;
  cut.mutable_parallel()->set_context(world_.size());
  EXPECT_NEAR(Trainer(cut, Mesh(world_, cut.parallel())).step().loss, Trainer(config, Mesh()).step().loss, 1e-6);
}

// A loss that is not finite on one rank is that of the step, on all of them.
TEST_F(Context, NanOnOneRankSkipsTheStepOnAll) {
  RunConfig config = config_of({37, 51, 40});
  config.mutable_parallel()->set_context(world_.size());
  Trainer trainer(config, Mesh(world_, config.parallel()));
  if (world_.rank() == 0) {
    trainer.store().find("model.norm.weight").value.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  }
  const TrainStep step = trainer.step();
  EXPECT_TRUE(step.skipped);
  EXPECT_TRUE(std::isnan(step.loss));
}

}  // namespace
}  // namespace mudelta::testing
