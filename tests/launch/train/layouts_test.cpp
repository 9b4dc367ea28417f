// Random runs in random layouts, parameter by parameter, against the same run in one process. Run under mpirun with any
// number of ranks. MUDELTA_TEST_LAYOUTS: how many; MUDELTA_TEST_SEED: of the first.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "core/allocator.h"
#include "launch/config/run_config.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/trainable_model.h"
#include "model/config.h"
#include "tests/launch/train/layout_case.h"

namespace mudelta {
namespace {

using testing::draw_layout;
using testing::LayoutCase;
using testing::text_rows;

constexpr int kSteps = 20;
// Rounding of float32 alone, which norms of short vectors amplify in models this small. A term left out shows as 1e-2
// and more.
constexpr double kLr = 2e-4, kGradientLimit = 2e-4, kWeightLimit = 1e-4, kLossLimit = 1e-5;

std::int64_t number_from(const char* variable, std::int64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::atoll(text);
}

// Root mean squares by parameter: of the difference from the whole, relative to the whole's.
class Differences {
 public:
  Differences(ProcessGroup world, std::span<const Parameter> parameters) : world_(std::move(world)) {
    for (const Parameter& parameter : parameters) sums_[parameter.spec.name] = {};  // the same ones on every rank
  }

  // `local`: elements from number `begin` of this rank's part of `parameter` on, which is `whole` in one process.
  void add(const Parameter& parameter, const Tensor& local, std::int64_t begin, const Tensor& whole) {
    const SliceMap map = parameter.slice_map();
    const auto values = local.span<float>(), expected = whole.span<float>();
    auto& [difference, square] = sums_[parameter.spec.name];
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double e = expected[static_cast<std::size_t>(map.whole_index(begin + static_cast<std::int64_t>(i)))];
      difference += (values[i] - e) * (values[i] - e);
      square += e * e;
    }
  }

  // Collective. What is less than a thousandth of all parameters together is compared with that thousandth: sums of
  // terms that cancel have the rounding of these.
  void expect_below(double limit, const std::string& what) {
    double squares = 0;
    for (auto& [name, sums] : sums_) {
      sums = {world_.all_reduce(sums.first, ReduceOp::kSum), world_.all_reduce(sums.second, ReduceOp::kSum)};
      squares += sums.second;
    }
    for (const auto& [name, sums] : sums_) {
      const double difference = std::sqrt(sums.first), norm = std::sqrt(sums.second);
      const double scale = std::max(norm, 1e-3 * std::sqrt(squares));
      EXPECT_LE(difference, limit * (scale > 0 ? scale : 1)) << what << " of " << name << ", of norm " << norm;
    }
  }

 private:
  ProcessGroup world_;
  std::map<std::string, std::pair<double, double>> sums_;
};

class Run {
 public:
  Run(const RunConfig& config, const Mesh& mesh, std::uint64_t seed)
      : config_(config), mesh_(mesh), seed_(seed), trainable_(config, mesh, Device()) {}

  TrainableModel& trainable() { return trainable_; }

  void compute_gradients(int step) {
    const std::int64_t share = config_.train().global_batch() / mesh_.data().size();
    const std::int64_t first = step * config_.train().global_batch() + mesh_.data().rank() * share;
    const std::int64_t micro = std::min(config_.train().micro_batch(), share);
    trainable_.begin_step();
    for (std::int64_t row = 0; row < share; row += micro) {
      const Batch batch = text_rows(config_, seed_, first + row, micro, mesh_.context().rank());
      row + micro < share ? trainable_.add(batch) : trainable_.add_last(batch);
    }
    trainable_.reduce();
  }

  // Of all ranks.
  StepSums sums() {
    const StepSums own = trainable_.sums();
    return {.squares = mesh_.world().all_reduce(own.squares, ReduceOp::kSum),
            .losses = mesh_.world().all_reduce(own.losses, ReduceOp::kSum)};
  }
  StepReport update(const StepSums& sums) { return trainable_.update(sums.squares, kLr, config_.train().grad_clip()); }

  // Whatever the ZeRO stage. Collective.
  std::span<const Parameter> parameters_with_values() {
    std::vector<int> units(static_cast<std::size_t>(config_.model().layers()) + 2);
    std::iota(units.begin(), units.end(), 0);
    trainable_.shards().read_units(units, {}, trainable_.stream());
    return trainable_.store().parameters();
  }

 private:
  RunConfig config_;
  Mesh mesh_;
  std::uint64_t seed_;
  TrainableModel trainable_;
};

RunConfig in_one_process(RunConfig config) {
  config.mutable_parallel()->clear_tensor();
  config.mutable_parallel()->clear_context();
  config.mutable_parallel()->clear_sequence_parallel();
  return config;
}

void compare_with_one_process(const LayoutCase& drawn, const ProcessGroup& world, std::uint64_t seed) {
  Run run(drawn.config, Mesh(world, drawn.config.parallel()), seed);
  Run alone(in_one_process(drawn.config), Mesh(), seed);
  const auto whole = alone.trainable().store().parameters();
  for (int step = 0; step < kSteps; ++step) {
    run.compute_gradients(step);
    alone.compute_gradients(step);
    if (step == 0) {
      Differences gradients(world, whole);
      for (const OptimizerSegment& segment : run.trainable().optimizer().segments()) {
        const Parameter& parameter = run.trainable().store().parameters()[segment.parameter];
        gradients.add(parameter, segment.gradient, segment.begin, whole[segment.parameter].gradient);
      }
      gradients.expect_below(kGradientLimit, "gradient");
    }
    const StepSums sums = run.sums(), expected_sums = alone.sums();
    const StepReport report = run.update(sums), expected = alone.update(expected_sums);
    if (step == 0) {
      EXPECT_NEAR(report.gradient_norm, expected.gradient_norm, kGradientLimit * expected.gradient_norm)
          << "gradient norm";
      EXPECT_NEAR(sums.losses, expected_sums.losses, kLossLimit * expected_sums.losses) << "loss";
    }
  }
  Differences weights(world, whole);
  const auto parameters = run.parameters_with_values();
  for (std::size_t i = 0; i < parameters.size(); ++i)
    weights.add(parameters[i], parameters[i].value, 0, whole[i].value);
  weights.expect_below(kWeightLimit, "weights");
  // What several ranks hold stays the same on all of them, bit for bit.
  const Mesh mesh(world, drawn.config.parallel());
  for (const Parameter& parameter : parameters) {
    const Tensor greatest = parameter.value.clone();
    mesh.gradients().all_reduce(greatest, ReduceOp::kMax, Stream());
    if (parameter.part.copies == mesh.tensor().size()) mesh.tensor().all_reduce(greatest, ReduceOp::kMax, Stream());
    const auto own = parameter.value.span<float>(), all = greatest.span<float>();
    EXPECT_TRUE(std::ranges::equal(own, all)) << parameter.spec.name;
  }
}

TEST(Layouts, TrainTheSameModelAsOneProcess) {
  const ProcessGroup world = ProcessGroup::world();
  const std::int64_t count = number_from("MUDELTA_TEST_LAYOUTS", 20), first = number_from("MUDELTA_TEST_SEED", 1);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto seed = static_cast<std::uint64_t>(first + i);
    const LayoutCase drawn = draw_layout(seed, world.size());
    if (std::getenv("MUDELTA_TEST_SEED") != nullptr && world.rank() == 0)
      std::printf("%s\n", drawn.to_string().c_str()), std::fflush(stdout);
    SCOPED_TRACE("MUDELTA_TEST_LAYOUTS=1 MUDELTA_TEST_SEED=" + std::to_string(seed) + ": " + drawn.to_string());
    compare_with_one_process(drawn, world, seed);
    if (::testing::Test::HasFailure()) return;
  }
}

// Rows of one document each, as the estimate counts them.
Batch whole_documents(const RunConfig& config, int part) {
  const auto rows = static_cast<std::int32_t>(config.train().micro_batch());
  const auto length = static_cast<std::int32_t>(config.train().sequence_length() / config.parallel().context());
  Batch batch = text_rows(config, 1, 0, rows, part);
  std::vector<std::int32_t> ends = {0}, edges;
  for (std::int32_t row = 0; row < rows; ++row) {
    ends.push_back((row + 1) * length);
    edges.insert(edges.end(), {row, row, part * length});
  }
  batch.cu_seqlens = Tensor::from(ends, {rows + 1});
  if (batch.edges) batch.edges = Tensor::from(edges, {rows, 3});
  return batch;
}

void expect_memory(const ProcessGroup& world, int context, int tensor, ModelConfig::Recompute recompute) {
  RunConfig config = draw_layout(1, world.size()).config;
  ModelConfig& model = *config.mutable_model();
  model.set_width(64);
  model.set_heads(world.size());
  model.set_value_heads(2 * world.size());
  model.set_head_dim(16);
  model.set_mlp_size(250);
  model.set_vocab_size(301);
  model.set_layers(3);
  model.set_recompute(recompute);
  config.mutable_parallel()->set_tensor(tensor);
  config.mutable_parallel()->set_context(context);
  config.mutable_parallel()->set_bucket_mib(25);
  config.mutable_parallel()->set_sequence_parallel(false);
  config.mutable_parallel()->clear_zero_stage();
  config.mutable_train()->set_sequence_length(96);
  config.mutable_train()->set_micro_batch(4);
  config.mutable_train()->set_global_batch(4);
  config.mutable_parametrization()->set_base_width(64);
  const Mesh mesh(world, config.parallel());
  const Batch rows = whole_documents(config, mesh.context().rank());
  const MemoryEstimate estimate = estimate_memory(config, mesh.data().size(), {});
  const std::int64_t before = memory_stats({}).allocated;
  reset_peak_memory({});
  TrainableModel trainable(config, mesh, {});
  const auto held = static_cast<double>(memory_stats({}).allocated - before);
  EXPECT_NEAR((estimate.weights + estimate.gradients + estimate.optimizer) / held, 1, 0.02);
  trainable.begin_step();
  trainable.add_last(rows);
  trainable.reduce();
  trainable.update(world.all_reduce(trainable.sums().squares, ReduceOp::kSum), 1e-3, 1);
  const auto peak = static_cast<double>(memory_stats({}).peak_allocated - before);
  EXPECT_NEAR(estimate.total() / peak, 1, 0.15);
  if (std::getenv("MUDELTA_TEST_SEED") != nullptr)
    std::printf("context %d: estimate %.0f, activations %.0f, peak %.0f, held %.0f\n", context, estimate.total(),
                estimate.activations, peak, held);
}

TEST(Layouts, EstimateOfMemoryIsThatOfARanksPart) {
  const ProcessGroup world = ProcessGroup::world();
  expect_memory(world, 1, world.size(), ModelConfig::NONE);
  for (const auto recompute : {ModelConfig::NONE, ModelConfig::SELECTIVE, ModelConfig::FULL}) {
    SCOPED_TRACE(ModelConfig::Recompute_Name(recompute));
    expect_memory(world, world.size(), 1, recompute);
  }
}

// So few tokens that parameters are most of it.
TEST(Layouts, EstimateOfMemoryKnowsZeroStages) {
  const ProcessGroup world = ProcessGroup::world();
  for (const bool tied : {true, false}) {
    for (const auto dtype : {TrainConfig::FLOAT32, TrainConfig::BFLOAT16}) {
      for (const int stage : {0, 1, 2, 3}) {
        RunConfig config;
        ModelConfig& model = *config.mutable_model();
        model.set_width(256);
        model.set_layers(3);
        model.set_heads(4);
        model.set_head_dim(32);
        model.set_vocab_size(1500);
        model.set_tie_embeddings(tied);
        model = resolve(model);
        TrainConfig& train = *config.mutable_train();
        train.set_global_batch(world.size());
        train.set_sequence_length(8);
        train.set_compute_dtype(dtype);
        config.mutable_parallel()->set_zero_stage(stage);
        config.mutable_parallel()->set_bucket_mib(0.5);
        config = with_defaults(config);
        const Batch rows = text_rows(config, 1, world.rank(), 1, 0);
        const std::int64_t before = memory_stats({}).allocated;
        reset_peak_memory({});
        TrainableModel trainable(config, Mesh(world, config.parallel()), {});
        trainable.begin_step();
        trainable.add_last(rows);
        trainable.reduce();
        trainable.update(world.all_reduce(trainable.sums().squares, ReduceOp::kSum), 1e-3, 1);
        const auto peak = static_cast<double>(memory_stats({}).peak_allocated - before);
        const MemoryEstimate estimate = estimate_memory(config, world.size(), {});
        EXPECT_NEAR(estimate.total() / peak, 1, 0.05)
            << "stage " << stage << (tied ? ", tied " : ", ") << TrainConfig::ComputeDtype_Name(dtype) << ": " << peak
            << " measured; weights " << estimate.weights << ", gradients " << estimate.gradients << ", optimizer "
            << estimate.optimizer << ", activations " << estimate.activations;
      }
    }
  }
}

}  // namespace
}  // namespace mudelta
