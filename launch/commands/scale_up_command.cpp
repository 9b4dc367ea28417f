#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "core/files/atomic_file.h"
#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/config/run_config.h"
#include "launch/job/agreement.h"
#include "launch/job/output_path.h"
#include "launch/transfer/scale_up/scale_up.h"
#include "launch/transfer/scale_up/scale_up_table.h"

namespace mudelta {
namespace {

struct Arguments {
  std::string from, out, parametrization, optimizer;
  std::vector<std::string> overrides;
  int ranks = 1;
  HorizonRule horizon = HorizonRule::kNone;
  bool force = false;
};

const std::map<std::string, HorizonRule> kHorizonRules = {
    {"NONE", HorizonRule::kNone}, {"SQRT", HorizonRule::kSqrt}, {"TIMESCALE", HorizonRule::kTimescale}};

void write_wide_run(const Arguments& arguments) {
  require_free_file(arguments.out, arguments.force);
  const SweepDirectory folder(arguments.from);
  const SweepConfig sweep = folder.read_config();
  const SweepReport report = analyse(sweep.base_width(), folder.read());
  require(!report.series.empty(), "{} has no finished run yet", arguments.from);
  SeriesChoice choice;
  if (!arguments.parametrization.empty()) choice.parametrization = parse_parametrization(arguments.parametrization);
  if (!arguments.optimizer.empty()) choice.optimizer = parse_optimizer_kind(arguments.optimizer);
  const SweepSeries& series = choose_series(report, choice);
  const auto [wide, notes] = scale_up(sweep, report, series, arguments.overrides, arguments.horizon);

  const std::string table = describe_scaling(wide, arguments.ranks);
  std::string comments = fmt::format("# Written by `mudelta scale-up --from {}`.\n", arguments.from);
  for (const std::string& line : notes) comments += fmt::format("# {}\n", line);
  write_file_atomically(arguments.out, comments + resolved_text(wide));
  fmt::print("{}\n", table);
  for (const std::string& line : notes) fmt::print("{}\n", line);
  fmt::print("written to {}: mudelta train {} --out RUN_DIR\n", arguments.out, arguments.out);
}

}  // namespace

void add_scale_up_command(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("scale-up", "Write the configuration of a wide run from a sweep's result");
  command->footer(
      "Example: mudelta scale-up --from runs/sweep --set model.width=4096 --set train.steps=50000 --out "
      "wide.textproto\n"
      "Prints what the scaling rules make of every parameter, and what the run will take.");
  command->add_option("--from", arguments->from, "Folder of the sweep")->type_name("SWEEP_DIR")->required();
  add_set_option(*command, arguments->overrides);
  command->add_option("--parametrization", arguments->parametrization, "GDN_MUP if the sweep has it")
      ->transform(CLI::IsMember({"SP", "MUP", "GDN_MUP"}, CLI::ignore_case));
  command->add_option("--optimizer", arguments->optimizer, "Needed if the sweep has both")
      ->transform(CLI::IsMember(optimizer_names(), CLI::ignore_case));
  command
      ->add_option("--horizon", arguments->horizon,
                   "How lr, betas, eps and decay follow another batch (SQRT), or another number of steps (TIMESCALE)")
      ->transform(CLI::CheckedTransformer(kHorizonRules, CLI::ignore_case))
      ->type_name("NONE|SQRT|TIMESCALE")
      ->default_str("NONE");
  add_whole_number(*command, "--ranks", arguments->ranks, 1, "Data ranks, for the estimate of memory");
  command->add_option("--out", arguments->out, "File to write; must not exist, except with --force")
      ->type_name("WIDE.textproto")
      ->required();
  add_force_option(*command, arguments->force);
  command->callback([arguments, &chosen] {
    chosen = [arguments] {
      return run_on_first_rank([&] {
        write_wide_run(*arguments);
        return 0;
      });
    };
  });
}

}  // namespace mudelta
