// Bytes that ranks send in training steps, counted, against the formulas.

#include "launch/train/step_traffic.h"

#include <gtest/gtest.h>

#include <utility>

#include "launch/train/trainable_model.h"
#include "launch/train/unit_elements.h"
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

// Elements that travel with those of a unit, as padding: of all, and between neighbours whose sums are partial.
struct Padding {
  double values = 0, gradients = 0, block_values = 0;  // bytes
  double embedding_values = 0;
  double partial = 0;  // bytes that are sent in one sum
};

Padding padding_of(TrainableModel& trainable) {
  Padding padding;
  const std::span<const Parameter> parameters = std::as_const(trainable).store().parameters();
  for (const FlatGroup& group : trainable.store().groups()) {
    const auto value_bytes = static_cast<double>(size_of(group.dtype));
    for (const FlatGroup::Unit& unit : group.units) {
      auto elements = static_cast<double>(unit.end - unit.begin);
      for (const FlatGroup::Entry& entry : group.entries) {
        if (entry.begin >= unit.begin && entry.begin < unit.end) elements -= static_cast<double>(entry.numel);
      }
      padding.values += value_bytes * elements;
      padding.gradients += 4 * elements;
      if (unit.unit == 0) padding.embedding_values += value_bytes * elements;
      if (unit.unit > 0 && unit.unit <= trainable.model().config().layers()) {
        padding.block_values += value_bytes * elements;
      }
    }
    for (std::size_t i = 1; i < group.entries.size(); ++i) {
      const FlatGroup::Entry &last = group.entries[i - 1], &next = group.entries[i];
      const Parameter &a = parameters[last.parameter], &b = parameters[next.parameter];
      if (!a.part.is_partial || !b.part.is_partial || a.part.copies != b.part.copies) continue;
      if (a.spec.unit != b.spec.unit) continue;
      const int copies = a.part.copies;
      padding.partial += 2 * 4 * static_cast<double>(next.begin - last.begin - last.numel) * (copies - 1) / copies;
    }
  }
  return padding;
}

void expect_formulas(const RunConfig& config, const ProcessGroup& world) {
  const Mesh mesh(world, config.parallel());
  const std::vector<Collective> expected = step_traffic(config, mesh.sizes(), mesh.tensor().rank());
  TrainableModel trainable(config, mesh, Device());
  auto sent = counted_bytes_of_step(trainable, config, mesh);
  const Padding padding = padding_of(trainable);
  const int sharing = mesh.gradients().size(), stage = zero_stage(config.parallel(), sharing);
  const auto micro_batches = static_cast<double>(config.train().global_batch()) /
                             static_cast<double>(config.train().micro_batch() * mesh.data().size());
  const bool embeds_again = config.model().tie_embeddings() && config.model().layers() > 1;
  const double sums = stage >= 2 ? micro_batches : 1;
  const double padded = stage == 0   ? 2 * padding.gradients
                        : stage <= 2 ? sums * padding.gradients + padding.values
                                     : sums * (padding.gradients + padding.values + padding.block_values +
                                               (embeds_again ? padding.embedding_values : 0));
  constexpr double kRoundingOfThirds = 200;  // less than a byte for each collective
  EXPECT_NEAR(static_cast<double>(sent["tensor"]), sent_bytes(expected, Axis::kTensor) + sums * padding.partial,
              kRoundingOfThirds);
  EXPECT_NEAR(static_cast<double>(sent["world"]), sent_bytes(expected, Axis::kWorld), kRoundingOfThirds);
  EXPECT_NEAR(static_cast<double>(sent["context"]), sent_bytes(expected, Axis::kContext), kRoundingOfThirds);
  const char* gradients = mesh.context().size() > 1 ? "data x context" : "data";
  EXPECT_NEAR(static_cast<double>(sent[gradients]),
              sent_bytes(expected, Axis::kGradients) + padded * (sharing - 1) / sharing, kRoundingOfThirds);
}

TEST(StepTraffic, FormulasAreWhatIsCounted) {
  const ProcessGroup world = ProcessGroup::world();
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    RunConfig config = draw_layout(seed, world.size()).config;
    if (seed % 2 == 0) config.mutable_train()->set_compute_dtype(TrainConfig::BFLOAT16);
    if (seed % 5 == 0) config.mutable_optimizer()->mutable_muon();
    for (const int stage : {0, 1, 2, 3}) {
      config.mutable_parallel()->set_zero_stage(stage);
      SCOPED_TRACE(testing::LayoutCase{config}.to_string());
      expect_formulas(config, world);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// The figures of docs/parallelism.md, of one layer more.
TEST(StepTraffic, ALayerSendsAsDocumented) {
  const ProcessGroup world = ProcessGroup::world();
  const double tokens = 24, width = 16, share = (world.size() - 1.0) / world.size();
  for (const bool cuts_rows : {true, false}) {
    RunConfig config = draw_layout(1, world.size()).config;
    config.mutable_parallel()->set_tensor(world.size());
    config.mutable_parallel()->clear_context();
    config.mutable_parallel()->set_sequence_parallel(cuts_rows);
    config.mutable_model()->set_heads(world.size());
    config.mutable_model()->set_value_heads(world.size());
    config.mutable_model()->set_width(static_cast<std::int64_t>(width));
    config.mutable_model()->set_head_dim(16);  // as the width, without padding
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

TEST(StepTraffic, ThereIsNoneAlone) {
  EXPECT_TRUE(step_traffic(draw_layout(1, 1).config, {.data = 1, .context = 1, .tensor = 1}, 0).empty());
}

TEST(StepTraffic, OfContextRanksDoesNotGrowWithTheRow) {
  RunConfig config = draw_layout(1, 1).config;
  const auto sent = [&](std::int64_t sequence_length) {
    config.mutable_train()->set_sequence_length(sequence_length);
    return sent_bytes(step_traffic(config, {.data = 1, .context = 4, .tensor = 1}, 0), Axis::kContext);
  };
  EXPECT_GT(sent(128), 0);
  EXPECT_EQ(sent(1 << 20), sent(128));
}

// The table of docs/parallelism.md, of two micro-batches.
TEST(StepTraffic, OfEachZeroStageAsDocumented) {
  RunConfig config = draw_layout(1, 1).config;
  config.mutable_model()->set_layers(3);
  config.mutable_train()->set_global_batch(8);
  config.mutable_train()->set_micro_batch(2);
  for (const bool tied : {false, true}) {
    config.mutable_model()->set_tie_embeddings(tied);
    const UnitElements units = unit_elements(config.model(), DType::kFloat32, {});
    const double all = 4 * units.all().count(), blocks = 4 * 3 * units.block.count();
    const double embedding = tied ? 4 * units.embedding.count() : 0;
    const double expected[] = {2 * all, 2 * all, 3 * all, 2 * all + 2 * (all + blocks + embedding)};
    for (int stage = 0; stage <= 3; ++stage) {
      config.mutable_parallel()->set_zero_stage(stage);
      const auto traffic = step_traffic(config, {.data = 2, .context = 1, .tensor = 1}, 0);
      EXPECT_EQ(sent_bytes(traffic, Axis::kGradients), expected[stage] / 2) << stage;
    }
  }
}

}  // namespace
}  // namespace mudelta
