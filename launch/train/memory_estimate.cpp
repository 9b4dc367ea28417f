#include "launch/train/memory_estimate.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"
#include "core/gpu.h"
#include "launch/job/memory_limit.h"
#include "launch/train/stored_model.h"
#include "model/config.h"
#include "model/parameters.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

constexpr double kFloat32 = 4;
constexpr double kChunk = 64;  // tokens between the states that the gated delta rule keeps

// Kept of one layer per token: what model/mixer.h, mlp.h and norm.h push.
double layer_bytes_per_token(const ModelConfig& c, double element) {
  const auto width = static_cast<double>(c.width()), value_heads = static_cast<double>(c.value_heads());
  const auto keys = static_cast<double>(product_of({c.heads(), c.head_dim()}));
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

// Sequences that a rank runs at a time.
std::int64_t micro_batch(const TrainConfig& train, int data_ranks) {
  const std::int64_t share = std::max<std::int64_t>(train.global_batch() / data_ranks, 1);
  return train.has_micro_batch() ? std::min(train.micro_batch(), share) : share;
}

double layer_bytes_per_token(const RunConfig& config) {
  return layer_bytes_per_token(config.model(), static_cast<double>(size_of(compute_dtype(config.train()))));
}

double activation_bytes(const RunConfig& config, int data_ranks) {
  const ModelConfig& model = config.model();
  const TrainConfig& train = config.train();
  const double tokens =
      static_cast<double>(micro_batch(train, data_ranks)) * static_cast<double>(train.sequence_length());
  const auto layers = static_cast<double>(model.layers());
  const double layer = layer_bytes_per_token(config);
  const double input = kFloat32 * static_cast<double>(model.width());
  // With full recomputation, every layer's input and one layer's inside.
  return tokens * (model.recompute() == ModelConfig::FULL ? layers * input + layer : layers * layer);
}

// Elements of all parameters, and the bytes of their values.
struct ParameterSize {
  double elements = 0, bytes = 0;
};

ParameterSize size_of_few_layers(const RunConfig& config, std::int64_t layers) {
  ModelConfig model = config.model();
  model.set_layers(layers);
  const auto compute = static_cast<double>(size_of(compute_dtype(config.train())));
  ParameterSize size;
  for (const ParameterSpec& spec : parameter_specs(model)) {
    const auto numel = static_cast<double>(spec.shape.numel());
    size.elements += numel;
    size.bytes += numel * (spec.keep_float32 ? kFloat32 : compute);
  }
  return size;
}

// All layers are alike.
ParameterSize parameter_size(const RunConfig& config) {
  const ParameterSize one = size_of_few_layers(config, 1), two = size_of_few_layers(config, 2);
  const double others = static_cast<double>(config.model().layers()) - 1;
  return {one.elements + others * (two.elements - one.elements), one.bytes + others * (two.bytes - one.bytes)};
}

}  // namespace

MemoryEstimate estimate_memory(const RunConfig& config, int data_ranks) {
  const ParameterSize parameters = parameter_size(config);
  const double states = 1 + static_cast<double>(state_names(kind_of(config.optimizer())).size());  // and the master
  return {.weights = parameters.bytes,
          .gradients = kFloat32 * parameters.elements,
          .optimizer = kFloat32 * parameters.elements * states / data_ranks,
          .activations = activation_bytes(config, data_ranks)};
}

MemoryEstimate estimate_inference_memory(const RunConfig& config, double tokens) {
  const ParameterSize parameters = parameter_size(config);
  return {.weights = parameters.bytes,
          .gradients = kFloat32 * parameters.elements,  // the store has them, used or not
          .activations = tokens * layer_bytes_per_token(config)};
}

double memory_share(int local_ranks, Device device) {
  if (!device.is_cuda()) return static_cast<double>(host_memory()) / local_ranks;
  const std::vector<gpu::DeviceInfo> gpus = gpu::devices();
  const auto num_gpus = static_cast<int>(gpus.size());
  const int ranks_per_gpu = (local_ranks + num_gpus - 1) / num_gpus;
  return static_cast<double>(gpus[static_cast<std::size_t>(device.index)].memory_bytes) / ranks_per_gpu;
}

void require_memory(const MemoryEstimate& estimate, const ModelConfig& model, std::string_view batch, int local_ranks,
                    Device device) {
  const double share = memory_share(local_ranks, device);
  if (estimate.total() <= share) return;
  const bool model_fits = estimate.total() - estimate.activations <= share;
  fail(
      "about {} of memory are needed on a rank (weights {}, gradients {}, optimizer {}, activations {}), and {} has "
      "{}{}: "
      "expected {}",
      human_bytes(estimate.total()), human_bytes(estimate.weights), human_bytes(estimate.gradients),
      human_bytes(estimate.optimizer), human_bytes(estimate.activations), device.is_cuda() ? "the GPU" : "this host",
      human_bytes(share), local_ranks > 1 ? fmt::format(" for each of its {} ranks", local_ranks) : "",
      model_fits ? fmt::format("fewer tokens at a time ({})", batch)
                 : fmt::format("a smaller model (model.layers is {}, width {}, heads {}, head_dim {}, mlp_size {}, "
                               "vocab_size {})",
                               model.layers(), model.width(), model.heads(), model.head_dim(), model.mlp_size(),
                               model.vocab_size()));
}

void require_training_memory(const RunConfig& config, int data_ranks, int local_ranks, Device device) {
  const TrainConfig& train = config.train();
  const std::string batch = fmt::format("train.micro_batch is {}, global_batch {}, sequence_length {}",
                                        train.has_micro_batch() ? std::to_string(train.micro_batch()) : "not given",
                                        train.global_batch(), train.sequence_length());
  require_memory(estimate_memory(config, data_ranks), config.model(), batch, local_ranks, device);
}

std::string human_bytes(double bytes) {
  constexpr std::array kUnits = {"MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  for (bytes /= 1 << 20; bytes >= 1024 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 1 : 2, kUnits[unit]);
}

}  // namespace mudelta
