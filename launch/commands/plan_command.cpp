#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "launch/commands/commands.h"
#include "launch/commands/dry_run.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/config/run_config.h"
#include "launch/job/agreement.h"
#include "launch/job/job_devices.h"
#include "launch/plan/measured_hardware.h"
#include "launch/plan/plan.h"
#include "launch/plan/plan_text.h"

namespace mudelta {
namespace {

struct PlanArguments {
  std::string config, hardware = "h100";
  std::vector<std::string> overrides;
  int devices = 1, devices_per_node = 0, top = 20;
  double memory_gib = 0;
  bool all = false, print_hardware = false;
};

// The layout is what a plan chooses, so that it is not checked for this job's ranks.
RunConfig complete_without_layout(const RunConfig& given) {
  RunConfig config = given;
  config.mutable_parallel()->clear_tensor();
  config.mutable_parallel()->clear_context();
  config.mutable_train()->clear_micro_batch();
  config = complete_without_data(config, 1);
  if (!config.data().has_path() && config.data().sources().empty()) config.mutable_data()->set_path("none");
  config.mutable_parallel()->MergeFrom(given.parallel());
  if (given.train().has_micro_batch()) config.mutable_train()->set_micro_batch(given.train().micro_batch());
  return config;
}

Hardware chosen_hardware(const PlanArguments& arguments, const RunConfig& config) {
  if (arguments.hardware != "measured") return load_hardware(arguments.hardware);
  const auto [device, world] =
      choose_devices(ProcessGroup::world(), config.train().device(), config.parallel().gpu_transport());
  return measure_hardware(config, world, device);
}

int run_plan(const PlanArguments& arguments) {
  PlanRequest request;
  run_or_fail_together(ProcessGroup::world(), [&] {
    const RunConfig given = load_run_config(arguments.config, arguments.overrides);
    request.choices = arguments.all ? LayoutChoices() : choices_left_by(given);
    request.config = complete_without_layout(given);
  });
  request.hardware = chosen_hardware(arguments, request.config);
  return run_on_first_rank([&] {
    if (arguments.devices_per_node > 0) request.hardware.set_devices_per_node(arguments.devices_per_node);
    if (arguments.memory_gib > 0) request.hardware.set_memory_gib(arguments.memory_gib);
    if (arguments.print_hardware) {
      std::string text;
      google::protobuf::TextFormat::PrintToString(request.hardware, &text);
      fmt::print("{}", text);
      return 0;
    }
    request.devices = arguments.devices;
    request.memory_bytes = usable_memory(request.hardware);
    const Plan plan = make_plan(request);
    fmt::print("{}", describe(plan, request, arguments.top));
    return plan.fitting.empty() ? 1 : 0;
  });
}

}  // namespace

void add_plan_command(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* command = app.add_subcommand("plan", "Compare the layouts in which so many devices can train a model");
  command->footer(
      "Example: mudelta plan wide.textproto --devices 64 --memory-gib 80\n"
      "Tries every parallel.tensor, parallel.context, parallel.zero_stage, train.micro_batch and model.recompute, but\n"
      "for those that CONFIG sets. Nothing is trained; docs/parallelism.md has the formulas. The exit code is 1 if no\n"
      "layout fits.");
  command->add_option("config", arguments->config, "Configuration of a run, as for `train`")
      ->type_name("CONFIG")
      ->required();
  add_set_option(*command, arguments->overrides);
  add_whole_number(*command, "--devices", arguments->devices, 1, "GPUs, or ranks on CPUs");
  command->add_option("--memory-gib", arguments->memory_gib, "Of a device, if not that of the hardware")
      ->check(positive_number());
  command
      ->add_option(
          "--hardware", arguments->hardware,
          "h100 (from data sheets); measured: that of this job, under mpirun -n 2 or more if links are needed;\n"
          "or a file as --print-hardware writes it")
      ->capture_default_str();
  add_whole_number(*command, "--devices-per-node", arguments->devices_per_node, 1, "If not those of the hardware")
      ->default_str("");
  add_whole_number(*command, "--top", arguments->top, 0, "Layouts to show; 0: all");
  command->add_flag("--all", arguments->all, "Choose also what CONFIG sets");
  command->add_flag("--print-hardware", arguments->print_hardware,
                    "Plans nothing: prints what it knows of the hardware");
  command->callback([arguments, &chosen] { chosen = [arguments] { return run_plan(*arguments); }; });
}

}  // namespace mudelta
