// Bytes that ranks send in training steps, counted, against the formulas.

#include "launch/train/step_traffic.h"

#include <gtest/gtest.h>

#include "launch/train/trainable_model.h"
#include "model/config.h"
#include "tests/launch/train/layout_case.h"

namespace mudelta {
namespace {

using testing::draw_layout;
using testing::text_rows;

std::map<std::string, std::int64_t> counted_bytes_of_step(TrainableModel& trainable, const RunConfig& config,
                                                          const Mesh& mesh) {
  const std::int64_t share = config.train().global_batch() / mesh.data().size();
  const std::int64_t micro = std::min(config.train().micro_batch(), share);
  std::map<std::string, std::int64_t> before = mesh.world().traffic().tensor_bytes_by_group();
  trainable.begin_step();
  for (std::int64_t row = 0; row < share; row += micro) {
    const Batch batch = text_rows(config, 1, mesh.data().rank() * share + row, micro, mesh.context().rank());
    row + micro < share ? trainable.add(batch) : trainable.add_last(batch);
  }
  trainable.reduce();
  trainable.update(mesh.world().all_reduce(trainable.sums().squares, ReduceOp::kSum), 1e-3, 1);
  std::map<std::string, std::int64_t> sent = mesh.world().traffic().tensor_bytes_by_group();
  for (auto& [group, bytes] : sent) bytes -= before[group];
  return sent;
}

void expect_formulas(const RunConfig& config, const ProcessGroup& world) {
  const Mesh mesh(world, config.parallel());
  const StepTraffic expected = step_traffic(config, mesh.sizes(), mesh.tensor().rank());
  TrainableModel trainable(config, mesh, Device());
  auto sent = counted_bytes_of_step(trainable, config, mesh);
  constexpr double kRoundingOfThirds = 200;  // less than a byte for each collective
  EXPECT_NEAR(static_cast<double>(sent["tensor"]), expected.tensor, kRoundingOfThirds);
  EXPECT_NEAR(static_cast<double>(sent["context"]), expected.context, kRoundingOfThirds);
  // The flat buffers travel with their padding.
  double padding = 0;
  for (const FlatGroup& group : trainable.store().groups()) {
    std::int64_t numel = group.gradients.numel();
    for (const FlatGroup::Entry& entry : group.entries) numel -= entry.numel;
    padding += static_cast<double>(numel * (4 + size_of(group.values.dtype())));
  }
  padding *= (mesh.gradients().size() - 1.0) / mesh.gradients().size();
  const char* gradients = mesh.context().size() > 1 ? "data x context" : "data";
  EXPECT_NEAR(static_cast<double>(sent[gradients]), expected.gradients + padding, kRoundingOfThirds);
}

TEST(StepTraffic, FormulasAreWhatIsCounted) {
  const ProcessGroup world = ProcessGroup::world();
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    RunConfig config = draw_layout(seed, world.size()).config;
    if (seed % 2 == 0) config.mutable_train()->set_compute_dtype(TrainConfig::BFLOAT16);
    SCOPED_TRACE(testing::LayoutCase{config}.to_string());
    expect_formulas(config, world);
    if (::testing::Test::HasFailure()) return;
  }
}

// The figures of docs/parallelism.md, of one layer more.
TEST(StepTraffic, ALayerSendsAsDocumented) {
  const ProcessGroup world = ProcessGroup::world();
  const double tokens = 24, width = 10, share = (world.size() - 1.0) / world.size();
  for (const bool cuts_rows : {true, false}) {
    RunConfig config = draw_layout(1, world.size()).config;
    config.mutable_parallel()->set_tensor(world.size());
    config.mutable_parallel()->clear_context();
    config.mutable_parallel()->set_sequence_parallel(cuts_rows);
    config.mutable_model()->set_heads(world.size());
    config.mutable_model()->set_value_heads(world.size());
    config.mutable_model()->set_width(static_cast<std::int64_t>(width));
    config.mutable_model()->set_recompute(ModelConfig::NONE);
    config.mutable_parametrization()->set_base_width(config.model().width());
    config.mutable_train()->set_sequence_length(static_cast<std::int64_t>(tokens));
    config.mutable_train()->set_micro_batch(1);
    config.mutable_train()->set_global_batch(1);
    const auto sent = [&](int layers) {
      config.mutable_model()->set_layers(layers);
      const Mesh mesh(world, config.parallel());
      TrainableModel trainable(config, mesh, Device());
      return static_cast<double>(counted_bytes_of_step(trainable, config, mesh)["tensor"]);
    };
    const double layer = (4 + (cuts_rows ? 6 : 4)) * tokens * width * 4 * share;
    const double partial_gradients =
        2 * 4 * share * static_cast<double>(value_dim(config.model()) + (cuts_rows ? 2 * config.model().width() : 0));
    EXPECT_NEAR(sent(2) - sent(1), layer + partial_gradients, 4);
  }
}

}  // namespace
}  // namespace mudelta
