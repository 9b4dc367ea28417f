#include "launch/memory_estimate.h"

#include <algorithm>

#include "launch/stored_model.h"
#include "model/config.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

constexpr double kFloat32 = 4;
constexpr double kChunk = 64;  // tokens between the states that the gated delta rule keeps

// Kept of one layer per token: what model/mixer.h, mlp.h and norm.h push.
double layer_bytes_per_token(const ModelConfig& c, double element) {
  const auto width = static_cast<double>(c.width()), value_heads = static_cast<double>(c.value_heads());
  const auto keys = static_cast<double>(c.heads() * c.head_dim());
  const double values = value_heads * static_cast<double>(value_dim(c));
  const bool derived = c.recompute() != ModelConfig::SELECTIVE;
  const double norms = 2 * kFloat32 * width;                               // inputs of the two norms
  const double projected = element * (2 * width + 2 * keys + 3 * values);  // their outputs; q, k, v; o and its gate
  const double mixer = derived ? element * (2 * keys + 2 * values) : 0;    // q, k, v as the rule sees them; y
  const double gates = kFloat32 * value_heads * (derived ? 4 : 2);
  const double states = kFloat32 * values * static_cast<double>(c.head_dim()) / kChunk;
  const double mlp = element * static_cast<double>(c.mlp_size()) * (derived ? 3 : 2);
  return norms + projected + mixer + gates + states + mlp;
}

double activation_bytes(const RunConfig& config, int data_ranks) {
  const ModelConfig& model = config.model();
  const TrainConfig& train = config.train();
  const std::int64_t share = std::max<std::int64_t>(train.global_batch() / data_ranks, 1);
  const std::int64_t micro = train.has_micro_batch() ? std::min(train.micro_batch(), share) : share;
  const auto tokens = static_cast<double>(micro * train.sequence_length());
  const auto layers = static_cast<double>(model.layers());
  const double layer = layer_bytes_per_token(model, static_cast<double>(size_of(compute_dtype(train))));
  const double input = kFloat32 * static_cast<double>(model.width());
  // With full recomputation, every layer's input and one layer's inside.
  return tokens * (model.recompute() == ModelConfig::FULL ? layers * input + layer : layers * layer);
}

}  // namespace

MemoryEstimate estimate_memory(const RunConfig& config, int data_ranks) {
  MemoryEstimate estimate;
  double elements = 0;
  const auto compute = static_cast<double>(size_of(compute_dtype(config.train())));
  for (const ParameterSpec& spec : parameter_specs(config.model())) {
    const auto numel = static_cast<double>(spec.shape.numel());
    elements += numel;
    estimate.weights += numel * (spec.keep_float32 ? kFloat32 : compute);
  }
  const double states = config.optimizer().has_sgd() ? 2 : 3;  // master, and one moment or two
  estimate.gradients = kFloat32 * elements;
  estimate.optimizer = kFloat32 * elements * states / data_ranks;
  estimate.activations = activation_bytes(config, data_ranks);
  return estimate;
}

}  // namespace mudelta
