#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/transfer/coord_check/coord_check_job.h"

namespace mudelta {

void add_coord_check_command(CLI::App& app, Command& chosen) {
  const std::map<std::string, std::vector<GrowthAxis>> axes = {{"head_dim", {GrowthAxis::kHeadDim}},
                                                               {"heads", {GrowthAxis::kHeads}},
                                                               {"both", {GrowthAxis::kHeadDim, GrowthAxis::kHeads}},
                                                               {"depth", {GrowthAxis::kDepth}}};
  std::map<std::string, OptimizerKind> optimizers;
  for (const OptimizerKind kind : optimizer_kinds()) optimizers.emplace(field_of(kind), kind);
  struct Arguments {
    CoordCheckRequest request;
    std::string config, data, out = "runs/coord-check", axis = "head_dim", optimizer;
    std::vector<std::string> parametrizations = {"GDN_MUP"};
  };
  auto arguments = std::make_shared<Arguments>();
  CoordCheckRequest& request = arguments->request;
  request.widths = {64, 128, 256, 512};
  request.layers = {2, 4, 8, 16};
  request.steps = {1, 3, 10};

  CLI::App* command = app.add_subcommand(
      "coord-check", "See whether what a parametrization holds constant with the width or depth is constant");
  command->footer(
      "Example: mudelta coord-check launch/configs/coord-check.textproto --axis both --parametrization SP,MUP,GDN_MUP\n"
      "mpirun -n 4 mudelta coord-check ... --set parallel.tensor=2: in a layout, as `train`.\n"
      "The exit code is 1 if the only parametrization fails, or GDN_MUP among several. docs/mup.md explains the "
      "table.");
  command->add_option("config", arguments->config, "Configuration of a run, as for `train`")
      ->type_name("CONFIG")
      ->required();
  add_set_option(*command, request.overrides);
  add_list(*command, "--widths", request.widths, whole_number(1), "At least three; the first is the base width");
  add_list(*command, "--layers", request.layers, whole_number(1), "The same for --axis depth");
  command->add_option("--axis", arguments->axis, "What grows with the width; both: one after the other; or the depth")
      ->transform(CLI::IsMember({"head_dim", "heads", "both", "depth"}, CLI::ignore_case))
      ->capture_default_str();
  command->add_option("--optimizer", arguments->optimizer, "adamw, sgd or muon, where not that of the configuration")
      ->transform(CLI::IsMember(optimizers, CLI::ignore_case));
  add_list(*command, "--parametrization", arguments->parametrizations,
           CLI::IsMember({"SP", "MUP", "GDN_MUP"}, CLI::ignore_case), "Of SP, MUP and GDN_MUP");
  add_list(*command, "--steps", request.steps, whole_number(1), "After which steps to measure; the last one is judged");
  add_whole_number(*command, "--seeds", request.seeds, 1, "Runs per width");
  command->add_option("--data", arguments->data,
                      "Data set; without one in CONFIG either, a text of made-up words is written");
  command->add_option("--out", arguments->out, "Folder of the results; must be absent or empty, except with --force")
      ->capture_default_str();
  add_force_option(*command, request.force);
  command->callback([arguments, axes, optimizers, &chosen] {
    chosen = [arguments, axes, optimizers] {
      CoordCheckRequest chosen_request = arguments->request;
      chosen_request.config = arguments->config;
      chosen_request.data = arguments->data;
      chosen_request.out = arguments->out;
      chosen_request.axes = axes.at(arguments->axis);
      if (!arguments->optimizer.empty()) chosen_request.optimizer = optimizers.at(arguments->optimizer);
      for (const std::string& name : arguments->parametrizations) {
        ParametrizationConfig::Kind kind{};
        ParametrizationConfig::Kind_Parse(name, &kind);
        chosen_request.parametrizations.push_back(kind);
      }
      return run_coord_check(chosen_request);
    };
  });
}

}  // namespace mudelta
