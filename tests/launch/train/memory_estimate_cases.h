#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "core/allocator.h"
#include "launch/config/run_config.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/trainable_model.h"
#include "model/config.h"
#include "tests/support/small_model.h"

// What a training step takes from the allocator, beside the estimate of it.
namespace mudelta::testing {

inline constexpr std::int64_t kRows = 4;

// Rows of `length` tokens.
inline RunConfig run_config(ModelConfig::Recompute recompute, TrainConfig::ComputeDtype dtype, bool tied,
                            std::int64_t length) {
  RunConfig config;
  ModelConfig& model = *config.mutable_model();
  model.set_width(72);
  model.set_layers(4);
  model.set_heads(1);
  model.set_value_heads(2);
  model.set_head_dim(32);
  model.set_expand_v(1.5);
  model.set_mlp_size(200);
  model.set_vocab_size(301);
  model.set_tie_embeddings(tied);
  model.set_recompute(recompute);
  model = resolve(model);
  TrainConfig& train = *config.mutable_train();
  train.set_global_batch(kRows);
  train.set_sequence_length(length);
  train.set_compute_dtype(dtype);
  return with_defaults(config);
}

// In the second row a document begins.
inline Batch make_rows(const RunConfig& config, Device device) {
  const std::int64_t length = config.train().sequence_length();
  std::vector<std::int64_t> lengths = {length, length / 4, length - length / 4};
  lengths.resize(kRows + 1, length);
  const SmallBatch batch = make_batch(lengths, config.model().vocab_size());
  return {batch.input.tokens.to(device), batch.targets.to(device), batch.input.cu_seqlens.to(device)};
}

// Bytes of some steps, the batch included.
inline double measured_memory(const RunConfig& config, Device device) {
  const Batch batch = make_rows(config, device);
  const auto input = static_cast<double>(batch.tokens.num_bytes() + batch.targets.num_bytes());
  const std::int64_t before = memory_stats(device).allocated;
  reset_peak_memory(device);
  TrainableModel trainable(config, Mesh(), device);
  for (int step = 0; step < (config.train().cuda_graph() ? 3 : 1); ++step) {
    trainable.begin_step();
    trainable.add_last(batch);
    trainable.reduce();
    trainable.update(trainable.sums().squares, 1e-3, 1);
  }
  return static_cast<double>(memory_stats(device).peak_allocated - before) + input;
}

// That the estimate is within the share `tolerance` of it.
inline void expect_close(const RunConfig& config, Device device, double tolerance) {
  const MemoryEstimate estimate = estimate_memory(config, 1, device);
  const double measured = measured_memory(config, device);
  EXPECT_NEAR(estimate.total() / measured, 1, tolerance)
      << ModelConfig::Recompute_Name(config.model().recompute()) << " "
      << TrainConfig::ComputeDtype_Name(config.train().compute_dtype()) << (config.train().cuda_graph() ? " graph" : "")
      << ", tied " << config.model().tie_embeddings() << ": " << measured << " measured; weights " << estimate.weights
      << ", gradients " << estimate.gradients << ", optimizer " << estimate.optimizer << ", activations "
      << estimate.activations;
}

inline constexpr auto kPolicies = {ModelConfig::NONE, ModelConfig::SELECTIVE, ModelConfig::FULL};

}  // namespace mudelta::testing
