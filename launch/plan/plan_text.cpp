#include "launch/plan/plan_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>

#include "dist/mesh.h"
#include "launch/plan/local_shape.h"
#include "launch/train/stored_model.h"
#include "model/flops.h"

namespace mudelta {
namespace {

constexpr double kAsFast = 1.02;       // times the fastest: closer than the estimate can tell
constexpr int kMostDevices = 1 << 14;  // that are tried

MeshSizes mesh_of(const PlannedLayout& layout, const PlanRequest& request) {
  return mesh_sizes(request.devices, layout.config.parallel());
}

double tokens_per_second(const PlannedLayout& layout) {
  const TrainConfig& train = layout.config.train();
  return static_cast<double>(train.global_batch()) * static_cast<double>(train.sequence_length()) / layout.time.total();
}

std::string_view name_of(ModelConfig::Recompute recompute) { return ModelConfig::Recompute_Name(recompute); }

std::string row(const PlannedLayout& layout, const PlanRequest& request) {
  const MeshSizes mesh = mesh_of(layout, request);
  const RunConfig& config = layout.config;
  const double rate = matrix_rate(request.hardware, compute_dtype(config.train())) * request.devices;
  const double flops = flops_per_token(config.model()).training() * tokens_per_second(layout);
  return fmt::format("{:>6}{:>8}{:>7}{:>6}  {:<10}{:>6}{:>12}{:>12.4g}{:>11.4g}{:>10.4g}{:>12.4g}{:>9.2f}\n", mesh.data,
                     mesh.context, mesh.tensor, config.parallel().zero_stage(), name_of(config.model().recompute()),
                     local_shape(config, request.devices).sequences, human_bytes(layout.memory.total()),
                     layout.time.total(), layout.time.compute + layout.time.update, layout.time.exposed,
                     tokens_per_second(layout), flops / rate);
}

std::string table(const std::vector<PlannedLayout>& layouts, const PlanRequest& request, std::size_t count) {
  std::string text =
      fmt::format("{:>6}{:>8}{:>7}{:>6}  {:<10}{:>6}{:>12}{:>12}{:>11}{:>10}{:>12}{:>9}\n", "data", "context", "tensor",
                  "zero", "recompute", "micro", "memory", "s/step", "computing", "exposed", "tokens/s", "of rate");
  for (std::size_t i = 0; i < std::min(count, layouts.size()); ++i) text += row(layouts[i], request);
  return text;
}

// The plainest of those that are as fast as any.
const PlannedLayout& recommended(const Plan& plan, const PlanRequest& request) {
  const double limit = plan.fitting.front().time.total() * kAsFast;
  const auto plainness = [&](const PlannedLayout& layout) {
    const MeshSizes mesh = mesh_of(layout, request);
    // ZeRO stage 1 costs nothing over stage 0.
    const int stage = std::max(layout.config.parallel().zero_stage() - 1, 0);
    return std::tuple(mesh.tensor * mesh.context, stage, layout.config.model().recompute() != ModelConfig::NONE,
                      layout.config.parallel().zero_stage() == 0, layout.time.total());
  };
  const PlannedLayout* best = &plan.fitting.front();
  for (const PlannedLayout& layout : plan.fitting) {
    if (layout.time.total() <= limit && plainness(layout) < plainness(*best)) best = &layout;
  }
  return *best;
}

// What `--set` makes of the configuration to get the layout.
std::string settings(const PlannedLayout& layout, const LayoutChoices& choices) {
  const RunConfig& config = layout.config;
  std::vector<std::string> set;
  const auto add = [&](bool chosen, std::string_view field, auto value) {
    if (chosen) set.push_back(fmt::format("--set {}={}", field, value));
  };
  add(choices.tensor, "parallel.tensor", config.parallel().tensor());
  add(choices.context, "parallel.context", config.parallel().context());
  add(choices.zero_stage, "parallel.zero_stage", config.parallel().zero_stage());
  add(choices.micro_batch, "train.micro_batch", config.train().micro_batch());
  add(choices.recompute, "model.recompute", name_of(config.model().recompute()));
  return fmt::format("{}", fmt::join(set, " "));
}

// The fastest layout of which `is_simpler` is true, against the best: "does not fit" or how much slower it is.
template <typename Predicate>
std::string compare(const Plan& plan, const PlannedLayout& best, std::string_view what, Predicate is_simpler) {
  for (const PlannedLayout& layout : plan.fitting) {
    if (is_simpler(layout)) {
      return fmt::format("  {}: {:.4g} s a step, {:.2f} times as long\n", what, layout.time.total(),
                         layout.time.total() / best.time.total());
    }
  }
  for (const PlannedLayout& layout : plan.too_large) {
    if (is_simpler(layout)) return fmt::format("  {}: needs at least {}\n", what, human_bytes(layout.memory.total()));
  }
  return "";
}

std::string reasons(const Plan& plan, const PlannedLayout& best, const PlanRequest& request) {
  const MeshSizes mesh = mesh_of(best, request);
  const auto tensor = [](const PlannedLayout& layout) { return layout.config.parallel().tensor(); };
  const auto context = [](const PlannedLayout& layout) { return layout.config.parallel().context(); };
  std::string text;
  if (mesh.tensor * mesh.context > 1) {
    text += compare(plan, best, "data parallelism alone",
                    [&](const PlannedLayout& layout) { return tensor(layout) * context(layout) == 1; });
  }
  if (mesh.tensor > 1) {
    text += compare(plan, best, "half as many tensor ranks",
                    [&](const PlannedLayout& layout) { return tensor(layout) == mesh.tensor / 2; });
  }
  text += compare(plan, best, "twice as many tensor ranks",
                  [&](const PlannedLayout& layout) { return tensor(layout) == mesh.tensor * 2; });
  if (best.config.parallel().zero_stage() > 1) {
    text += compare(plan, best, "ZeRO stage 1",
                    [](const PlannedLayout& layout) { return layout.config.parallel().zero_stage() == 1; });
  }
  if (best.config.model().recompute() != ModelConfig::NONE) {
    text += compare(plan, best, "without recomputation",
                    [](const PlannedLayout& layout) { return layout.config.model().recompute() == ModelConfig::NONE; });
  }
  return text.empty() ? text : "compared with\n" + text;
}

std::string recommendation(const Plan& plan, const PlanRequest& request) {
  const PlannedLayout& best = recommended(plan, request);
  const StepTime& time = best.time;
  std::string text =
      fmt::format("\nrecommended: {}{}\n", mesh_of(best, request).to_string(),
                  &best == &plan.fitting.front()
                      ? ", the fastest"
                      : fmt::format(", the plainest of those within {:.0f}% of the fastest", 100 * (kAsFast - 1)));
  text += fmt::format("  memory {}: weights {}, gradients {}, optimizer {}, activations {}\n",
                      human_bytes(best.memory.total()), human_bytes(best.memory.weights),
                      human_bytes(best.memory.gradients), human_bytes(best.memory.optimizer),
                      human_bytes(best.memory.activations));
  text += fmt::format("  step {:.4g} s: passes {:.4g}, update {:.4g}, communication {:.4g}, of which exposed {:.4g}\n",
                      time.total(), time.compute, time.update, time.communication, time.exposed);
  text += reasons(plan, best, request);
  const std::string set = settings(best, request.choices);
  if (!set.empty()) text += fmt::format("for `mudelta train`: {}\n", set);
  return text;
}

// The least devices, in doublings, on which some layout fits; the global batch grows where it must be shared out.
std::string more_devices(PlanRequest request) {
  while (request.devices <= kMostDevices / 2) {
    request.devices *= 2;
    TrainConfig& train = *request.config.mutable_train();
    if (train.global_batch() < request.devices) train.set_global_batch(2 * train.global_batch());
    if (!make_plan(request).fitting.empty()) return fmt::format("{} devices", request.devices);
  }
  return "";
}

std::string what_would_fit(const Plan& plan, const PlanRequest& request) {
  if (plan.too_large.empty()) {
    std::string text = fmt::format("`train` accepts no layout of {} devices:\n", request.devices);
    for (const std::string& refusal : plan.refusals) text += fmt::format("  {}\n", refusal);
    return text;
  }
  const PlannedLayout& least = plan.too_large.front();
  std::string text =
      fmt::format("no layout fits into {} a device; those that need least:\n", human_bytes(request.memory_bytes));
  text += table(plan.too_large, request, 5);
  text += "what would fit:\n";
  text += fmt::format("  devices with {}\n", human_bytes(least.memory.total()));
  const std::string devices = more_devices(request);
  if (!devices.empty()) text += fmt::format("  {}\n", devices);
  PlanRequest free = request;
  free.choices = {};
  if (!make_plan(free).fitting.empty()) text += "  a layout that CONFIG does not set (--all)\n";
  const MemoryEstimate& memory = least.memory;
  text += memory.activations > memory.total() - memory.activations
              ? "  shorter sequences (train.sequence_length): activations are most of it\n"
              : "  a smaller model: weights, gradients and optimizer state are most of it\n";
  return text;
}

}  // namespace

std::string describe(const Plan& plan, const PlanRequest& request, int top) {
  std::string text = fmt::format(
      "{:.4g}M parameters, {} x {} tokens a step, {} devices of \"{}\" with {} to use\n"
      "computed, not measured: memory of a rank; seconds of a step, of which computing and in exposed communication;\n"
      "model FLOP/s of the rate of matrix products\n\n",
      num_parameters(request.config.model(), 1) / 1e6, request.config.train().global_batch(),
      request.config.train().sequence_length(), request.devices, request.hardware.name(),
      human_bytes(request.memory_bytes));
  if (plan.fitting.empty()) return text + what_would_fit(plan, request);
  const std::size_t count = top == 0 ? plan.fitting.size() : static_cast<std::size_t>(top);
  text += table(plan.fitting, request, count);
  if (count < plan.fitting.size()) text += fmt::format("and {} more (--top 0)\n", plan.fitting.size() - count);
  return text + recommendation(plan, request);
}

}  // namespace mudelta
