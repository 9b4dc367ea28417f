#include "launch/plan/traffic.h"

#include <gmock/gmock.h>

#include "launch/plan/local_shape.h"
#include "tests/launch/plan/plan_case.h"

namespace mudelta::testing {
namespace {

using Kind = CollectiveKind;

RunConfig run(int context, int tensor, int zero_stage) {
  RunConfig config = small_run();
  config.mutable_parallel()->set_context(context);
  config.mutable_parallel()->set_tensor(tensor);
  config.mutable_parallel()->set_zero_stage(zero_stage);
  return config;
}

double sent(const RunConfig& config, int devices, Axis axis, int ranks) {
  double bytes = 0;
  for (const Collective& collective : traffic_of(config, devices)) {
    if (collective.axis == axis) bytes += collective.calls * collective.sent_bytes(ranks);
  }
  return bytes;
}

TEST(Traffic, OfARingIsAShareOfTheWhole) {
  EXPECT_EQ((Collective{Axis::kTensor, Kind::kAllGather, 400, 1}.sent_bytes(4)), 300);
  EXPECT_EQ((Collective{Axis::kTensor, Kind::kReduceScatter, 400, 1}.sent_bytes(4)), 300);
  EXPECT_EQ((Collective{Axis::kTensor, Kind::kAllReduce, 400, 1}.sent_bytes(4)), 600);
}

TEST(Traffic, ThereIsNoneAlone) { EXPECT_TRUE(traffic_of(small_run(), 1).empty()); }

// docs/parallelism.md: 4 and 6 times tokens x width a layer, and the rows before the readout and of the embedding, each
// there and back.
TEST(Traffic, OfTensorRanks) {
  const double rows = 8 * 128 * 64 * 4.0;
  RunConfig config = run(1, 2, 1);
  EXPECT_EQ(sent(config, 2, Axis::kTensor, 2), (3 * 10 + 4) * rows / 2);
  config.mutable_parallel()->set_sequence_parallel(false);
  EXPECT_EQ(sent(config, 2, Axis::kTensor, 2), (3 * 8 + 4) * rows / 2);
  config.mutable_model()->set_recompute(ModelConfig::FULL);  // the forward pass again
  EXPECT_EQ(sent(config, 2, Axis::kTensor, 2), (3 * 12 + 4) * rows / 2);
  EXPECT_EQ(sent(config, 2, Axis::kGradients, 1), 0);
}

TEST(Traffic, OfContextRanksDoesNotGrowWithTheSequence) {
  RunConfig config = run(2, 1, 1);
  // A state and a transition of each of 4 heads, and three rows of 2 x 32 + 64 channels: there and back, of each row.
  const double bytes = 3 * 8 * 2 * 4 * (4 * (16 * 16 + 16 * 16) + 3 * 128);
  EXPECT_EQ(sent(config, 2, Axis::kContext, 2), bytes);
  config.mutable_train()->set_sequence_length(1024);
  EXPECT_EQ(sent(config, 2, Axis::kContext, 2), bytes);
}

TEST(Traffic, OfEachZeroStage) {
  const double parameters = num_parameters(small_run().model(), 1) * 4;
  RunConfig config = small_run();
  config.mutable_train()->set_micro_batch(2);  // two on each of two ranks
  const auto of_stage = [&](int stage) {
    config.mutable_parallel()->set_zero_stage(stage);
    return sent(config, 2, Axis::kGradients, 2);
  };
  EXPECT_EQ(of_stage(0), parameters);
  EXPECT_EQ(of_stage(1), parameters);
  EXPECT_EQ(of_stage(2), 1.5 * parameters);
  EXPECT_EQ(of_stage(3), 3 * parameters);
}

}  // namespace
}  // namespace mudelta::testing
