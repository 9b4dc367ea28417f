#include "launch/transfer/scale_up/scale_up_table.h"

#include <cctype>
#include <optional>

#include "core/gpu.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/scaling.h"
#include "model/flops.h"
#include "model/parameters.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

struct ParameterClass {
  std::string name;
  std::int64_t count = 0;
  ParameterSpec spec;  // of the first
  ParameterScaling scaling;
};

// All layers are alike.
std::vector<ParameterClass> classes_of(const RunConfig& config, const Parametrization& parametrization) {
  const std::vector<ParameterSpec> specs = parameter_specs(config.model());
  std::vector<ParameterClass> classes;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto [layer, name] = place_of(specs[i].name);
    if (layer > 0) continue;
    classes.push_back({.name = std::string(name),
                       .count = layer < 0 ? 1 : config.model().layers(),
                       .spec = specs[i],
                       .scaling = parametrization.scaling()[i]});
  }
  return classes;
}

std::string initial_values(const Initializer& initializer, double spread) {
  switch (initializer.kind) {
    case Initializer::Kind::kNormal: return fmt::format("std {:.4g}", initializer.a * spread);
    case Initializer::Kind::kUniform:
      return fmt::format("U({:g}, {:g})", initializer.a * spread, initializer.b * spread);
    case Initializer::Kind::kConstant: return fmt::format("{:g}", initializer.a);
    case Initializer::Kind::kLogOfUniform: return fmt::format("log U({:g}, {:g})", initializer.a, initializer.b);
    case Initializer::Kind::kInverseSoftplusOfLogUniform:
      return fmt::format("sp^-1({:g}..{:g})", initializer.a, initializer.b);
  }
  return "";
}

}  // namespace

std::string describe_scaling(const RunConfig& config, int data_ranks) {
  const OptimizerConfig& optimizer = config.optimizer();
  std::string text = fmt::format("{:<24}{:>4}  {:<12}{:<16}{:<18}{:>9}{:>11}{:>12}{:>10}\n", "parameter", "x", "role",
                                 "shape", "initial values", "lr x", "peak lr", "decay/step", "eps");
  double elements = 0;
  const Parametrization parametrization = make_parametrization(config);
  for (const ParameterClass& c : classes_of(config, parametrization)) {
    elements += static_cast<double>(c.spec.shape.numel()) * static_cast<double>(c.count);
    const OptimizerKind update = update_kind(kind_of(optimizer), c.spec.role);
    const double lr = peak_lr(optimizer, update), decay = weight_decay(optimizer, update);
    const std::optional<double> base_eps = update == OptimizerKind::kAdamW ? eps(optimizer) : std::nullopt;
    text += fmt::format(
        "{:<24}{:>4}  {:<12}{:<16}{:<18}{:>9.4g}{:>11.4g}{:>12.3g}{:>10}\n", c.name, c.count, name_of(c.spec.role),
        c.spec.shape.to_string(), initial_values(c.spec.initializer, c.scaling.init), c.scaling.lr, lr * c.scaling.lr,
        lr * c.scaling.decay * decay, base_eps ? fmt::format("{:.3g}", *base_eps * c.scaling.eps) : "-");
  }
  const TrainConfig& train = config.train();
  const double tokens = static_cast<double>(train.steps() * train.global_batch() * train.sequence_length());
  const double flops = flops_per_token(config.model()).training();
  const MemoryEstimate memory = estimate_memory(config, data_ranks, gpu::devices().empty() ? Device() : Device::cuda());
  const ForwardMultipliers& forward = parametrization.forward_multipliers();
  text += fmt::format("logits x {:.6g}\n", forward.logits);
  if (forward.residual != 1)
    text += fmt::format("what mixers and MLPs add to the residual stream x {:.6g}\n", forward.residual);
  text += '\n';
  text += fmt::format("parameters  {:.4g} million\n", elements / 1e6);
  text += fmt::format("training    {:.4g} GFLOP per token, forward and backward; {:.4g} million tokens: {:.3g} FLOP\n",
                      flops / 1e9, tokens / 1e6, flops * tokens);
  text += fmt::format(
      "memory      on each of {} data rank{}: weights {}, gradients {}, optimizer {}, activations about {}; {} "
      "together\n",
      data_ranks, data_ranks == 1 ? "" : "s", human_bytes(memory.weights), human_bytes(memory.gradients),
      human_bytes(memory.optimizer), human_bytes(memory.activations), human_bytes(memory.total()));
  return text;
}

}  // namespace mudelta
