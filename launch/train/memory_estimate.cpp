#include "launch/train/memory_estimate.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "core/gpu.h"
#include "core/live_tensors.h"
#include "dist/mesh.h"
#include "launch/job/memory_limit.h"
#include "launch/train/stored_model.h"
#include "launch/train/unit_elements.h"
#include "model/language_model.h"
#include "model/parameters.h"
#include "optim/matrix_owners.h"
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

double block_bytes(double elements, DType dtype) {
  LiveTensors buffer;
  if (elements > 0) buffer.add_bytes(elements * static_cast<double>(size_of(dtype)));
  return buffer.bytes();
}

double value_bytes(const Elements& elements, DType compute_dtype) {
  return block_bytes(elements.compute, compute_dtype) + block_bytes(elements.wide, DType::kFloat32);
}
double gradient_bytes(const Elements& elements) { return value_bytes(elements, DType::kFloat32); }

// What Muon has of the costliest matrix while it is made orthogonal; nothing with other optimizers.
double update_bytes(const RunConfig& config, int ranks, Device device) {
  LiveTensors most;
  if (kind_of(config.optimizer()) != OptimizerKind::kMuon) return 0;
  const MuonConfig& muon = config.optimizer().muon();
  ModelConfig one_block = config.model();
  one_block.set_layers(1);
  for (const ParameterSpec& spec : parameter_specs(one_block)) {
    if (spec.role == Role::kHidden) most = larger(most, MatrixOwners::memory(muon, spec.shape, ranks, device));
  }
  return most.bytes();
}

struct WholeUnits {
  double values = 0, gradients = 0;  // bytes
};

// At the fullest moment of a pass in which units have whole values (`gathers`) and gradients in turn: those of a place,
// and of the next, whose values are gathered meanwhile, or of the last, whose gradients are reduced.
WholeUnits fullest_moment(const UnitElements& units, const RunConfig& config, bool gathers) {
  const DType dtype = compute_dtype(config.train());
  const double values = value_bytes(units.block, dtype), gradients = gradient_bytes(units.block);
  const bool tied = config.model().tie_embeddings(), several = config.model().layers() > 1;
  const double tied_values = tied ? value_bytes(units.embedding, dtype) : 0;
  const double tied_gradients = tied ? gradient_bytes(units.embedding) : 0;
  const double head_values = value_bytes(units.head, dtype) + tied_values, head_gradients = gradient_bytes(units.head);
  std::vector<WholeUnits> moments = {
      {value_bytes(units.embedding, dtype) + values, 0},
      {values + head_values, tied_gradients + head_gradients},
      {several ? 2 * values : values, tied_gradients + head_gradients + gradients},
      {several ? 2 * values : values, tied_gradients + (several ? 2 * gradients : gradients)},
      {0, gradient_bytes(units.embedding) + gradients}};
  if (!gathers) {
    for (WholeUnits& moment : moments) moment.values = 0;
  }
  return *std::ranges::max_element(moments, {}, [](const WholeUnits& m) { return m.values + m.gradients; });
}

// `sharing_ranks` ranks hold the same parameters.
MemoryEstimate estimate_without_activations(const RunConfig& config, int sharing_ranks) {
  const int stage = zero_stage(config.parallel(), sharing_ranks);
  const DType dtype = compute_dtype(config.train());
  const int tensor_ranks = config.parallel().tensor();
  const UnitElements units = unit_elements(config.model(), dtype, {.rank = tensor_ranks - 1, .ranks = tensor_ranks});
  const Elements all = units.all(), part = all * (1.0 / sharing_ranks);
  const Elements& updated = stage == 0 ? all : part;
  const auto state_bytes = [&](const Elements& elements) {
    return block_bytes(num_state_elements(elements, config.optimizer()), DType::kFloat32);
  };
  const WholeUnits whole = stage >= 2 ? fullest_moment(units, config, stage == 3) : WholeUnits();
  return {.weights = stage == 3 ? value_bytes(part, dtype) + whole.values : value_bytes(all, dtype),
          .gradients = stage >= 2 ? gradient_bytes(part) + whole.gradients : gradient_bytes(all),
          // A float32 parameter is its own master.
          .optimizer = state_bytes(updated) +
                       (dtype == DType::kFloat32 ? 0 : block_bytes(updated.compute, DType::kFloat32)),
          .snapshot = config.checkpoint().asynchronous() ? gradient_bytes(part) + state_bytes(part) : 0};
}

}  // namespace

MemoryEstimate estimate_memory(const RunConfig& config, int data_ranks, Device device) {
  MemoryEstimate estimate = estimate_without_activations(config, data_ranks * config.parallel().context());
  const int ranks = data_ranks * config.parallel().context() * config.parallel().tensor();
  estimate.activations = std::max(activation_bytes(config, data_ranks, device), update_bytes(config, ranks, device));
  return estimate;
}

MemoryEstimate estimate_inference_memory(const RunConfig& config, std::int64_t tokens, Device device) {
  MemoryEstimate estimate = estimate_without_activations(config, 1);
  estimate.gradients = 0;
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
