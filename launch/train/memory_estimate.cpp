#include "launch/train/memory_estimate.h"

#include <algorithm>
#include <array>
#include <vector>

#include "core/error.h"
#include "core/gpu.h"
#include "core/live_tensors.h"
#include "launch/job/memory_limit.h"
#include "launch/train/stored_model.h"
#include "model/language_model.h"
#include "model/parameter_parts.h"
#include "model/parameters.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

PassShape pass_shape(const RunConfig& config, std::int64_t tokens, std::int64_t sequences, Device device) {
  return {.tokens = tokens,
          .sequences = sequences,
          .compute_dtype = compute_dtype(config.train()),
          .recompute = config.model().recompute(),
          .device = device,
          .tensor_ranks = config.parallel().tensor(),
          .context_ranks = config.parallel().context()};
}

// Sequences that a rank runs at a time.
std::int64_t micro_batch(const TrainConfig& train, int data_ranks) {
  const std::int64_t share = std::max<std::int64_t>(train.global_batch() / data_ranks, 1);
  return train.has_micro_batch() ? std::min(train.micro_batch(), share) : share;
}

double most_bytes(const std::vector<LiveTensors>& moments) {
  double most = 0;
  for (const LiveTensors& moment : moments) most = std::max(most, moment.bytes());
  return most;
}

// A graph's blocks stay as they are, and its own: as many of each size as any moment needs.
double pool_bytes(const std::vector<LiveTensors>& moments) {
  LiveTensors pool;
  for (const LiveTensors& moment : moments) pool.join(moment);
  return pool.bytes();
}

double activation_bytes(const RunConfig& config, int data_ranks, Device device) {
  const TrainConfig& train = config.train();
  const int context = config.parallel().context();
  const std::int64_t rows = micro_batch(train, data_ranks);
  const std::vector<LiveTensors> moments = LanguageModel::training_memory(
      config.model(), pass_shape(config, product_of({rows, train.sequence_length() / context}), rows, device));
  return train.cuda_graph() ? pool_bytes(moments) : most_bytes(moments);
}

// Of all parameters: what a ParameterStore and an optimizer hold of them.
struct ParameterMemory {
  double compute = 0, wide = 0;  // elements of the compute dtype, and of those that are float32 whatever that is
  double optimizer = 0;          // bytes
  double saved = 0;              // bytes that a checkpoint has of them
};

ParameterMemory memory_of_few_layers(const RunConfig& config, std::int64_t layers, int data_ranks) {
  const std::int64_t shards = std::int64_t{data_ranks} * config.parallel().context();
  ModelConfig model = config.model();
  model.set_layers(layers);
  const auto moments = static_cast<double>(state_names(kind_of(config.optimizer())).size());
  ParameterMemory memory;
  LiveTensors states;
  const std::vector<ParameterSpec> specs = parameter_specs(model);
  // The last rank's parts are the largest.
  const int tensor_ranks = config.parallel().tensor();
  const std::vector<ParameterPart> parts = parameter_parts(specs, {.rank = tensor_ranks - 1, .ranks = tensor_ranks});
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const ParameterSpec& spec = specs[i];
    const std::int64_t numel = parts.empty() ? spec.shape.numel() : SliceMap(spec.shape, parts[i].slice).numel();
    const bool is_wide = spec.keep_float32 || compute_dtype(config.train()) == DType::kFloat32;
    (is_wide ? memory.wide : memory.compute) += static_cast<double>(numel);
    LiveTensors state;
    state.add({(numel + shards - 1) / shards}, DType::kFloat32);
    memory.saved += (moments + 1) * state.bytes();
    states.add(is_wide ? moments : moments + 1, state);  // a float32 parameter is its own master
  }
  memory.optimizer = states.bytes();
  return memory;
}

// All layers are alike.
ParameterMemory parameter_memory(const RunConfig& config, int data_ranks) {
  const ParameterMemory one = memory_of_few_layers(config, 1, data_ranks);
  const ParameterMemory two = memory_of_few_layers(config, 2, data_ranks);
  const double others = static_cast<double>(config.model().layers()) - 1;
  return {.compute = one.compute + others * (two.compute - one.compute),
          .wide = one.wide + others * (two.wide - one.wide),
          .optimizer = one.optimizer + others * (two.optimizer - one.optimizer),
          .saved = one.saved + others * (two.saved - one.saved)};
}

MemoryEstimate estimate_without_activations(const RunConfig& config, int data_ranks) {
  const ParameterMemory parameters = parameter_memory(config, data_ranks);
  const auto flat = [](double elements, DType dtype) {
    LiveTensors buffer;
    if (elements > 0) buffer.add_bytes(elements * static_cast<double>(size_of(dtype)));
    return buffer.bytes();
  };
  return {.weights = flat(parameters.compute, compute_dtype(config.train())) + flat(parameters.wide, DType::kFloat32),
          .gradients = flat(parameters.compute, DType::kFloat32) + flat(parameters.wide, DType::kFloat32),
          .optimizer = parameters.optimizer,
          .snapshot = config.checkpoint().asynchronous() ? parameters.saved : 0};
}

}  // namespace

MemoryEstimate estimate_memory(const RunConfig& config, int data_ranks, Device device) {
  MemoryEstimate estimate = estimate_without_activations(config, data_ranks);
  estimate.activations = activation_bytes(config, data_ranks, device);
  return estimate;
}

MemoryEstimate estimate_inference_memory(const RunConfig& config, std::int64_t tokens, Device device) {
  MemoryEstimate estimate = estimate_without_activations(config, 1);
  estimate.optimizer = 0;
  estimate.snapshot = 0;
  if (tokens > 0) {
    estimate.activations =
        most_bytes(LanguageModel::inference_memory(config.model(), pass_shape(config, tokens, 1, device)));
  }
  return estimate;
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
  require_memory(estimate_memory(config, data_ranks, device), config.model(), batch, local_ranks, device);
}

void require_snapshot_memory(const RunConfig& config, int data_ranks, int local_ranks, Device device) {
  const MemoryEstimate estimate = estimate_memory(config, data_ranks, device);
  if (estimate.snapshot == 0) return;
  const double host_bytes = estimate.snapshot + (device.is_cuda() ? 0 : estimate.total());
  require(host_bytes <= memory_share(local_ranks, Device()),
          "about {} of host memory are needed on a rank, of which {} for a copy of what is saved, and this host has {} "
          "for each of its {} ranks: expected checkpoint.asynchronous=false, or a smaller model",
          human_bytes(host_bytes), human_bytes(estimate.snapshot), human_bytes(memory_share(local_ranks, Device())),
          local_ranks);
}

std::string human_bytes(double bytes) {
  constexpr std::array kUnits = {"MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  for (bytes /= 1 << 20; bytes >= 1024 && unit + 1 < kUnits.size(); ++unit) bytes /= 1024;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 1 : 2, kUnits[unit]);
}

}  // namespace mudelta
