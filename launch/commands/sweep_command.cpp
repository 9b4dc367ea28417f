#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/shared_options.h"
#include "launch/job/agreement.h"
#include "launch/transfer/sweep/sweep_job.h"
#include "launch/transfer/sweep/sweep_report.h"

namespace mudelta {
namespace {

int report_only(const std::string& folder, LossScale scale) {
  return run_on_first_rank([&] {
    fmt::print("{}", write_report(SweepDirectory(folder), scale));
    return 0;
  });
}

}  // namespace

void add_sweep_command(CLI::App& app, Command& chosen) {
  struct Arguments {
    std::string config, out, report;
    std::vector<std::string> overrides;
    bool absolute_loss = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("sweep", "Find the best learning rate at each width, and how far it moves");
  command->footer(
      "Example: mpirun -n 2 mudelta sweep launch/configs/sweep-cpu-adamw.textproto --out runs/sweep-adamw\n"
      "         mudelta sweep --report runs/sweep-adamw\n"
      "Each rank trains one run at a time. Runs whose results are in DIR are not run again: the same command goes on\n"
      "after an interruption, or with longer lists. SIGTERM, SIGINT and SIGUSR1 write a checkpoint of every run under\n"
      "way before the sweep ends (mpirun passes on SIGUSR1 only). All fields are described in "
      "launch/transfer/sweep/sweep.proto.");
  CLI::Option* config =
      command->add_option("config", arguments->config, "The sweep, in protobuf text format; a file or a preset")
          ->type_name("SWEEP");
  add_set_option(*command, arguments->overrides);
  CLI::Option* out = command->add_option("--out", arguments->out, "Folder of the sweep")->type_name("DIR");
  CLI::Option* report =
      command->add_option("--report", arguments->report, "Trains nothing: reports on what is in DIR")->type_name("DIR");
  command->add_flag("--absolute-loss", arguments->absolute_loss,
                    "Plot the losses themselves, not what they are above the best of their width");
  config->needs(out)->excludes(report);
  out->needs(config)->excludes(report);
  command->callback([arguments, &chosen] {
    if (arguments->config.empty() && arguments->report.empty()) {
      throw CLI::ValidationError("expected SWEEP and --out DIR, or --report DIR");
    }
    chosen = [arguments] {
      const LossScale scale = arguments->absolute_loss ? LossScale::kAbsolute : LossScale::kAboveBest;
      if (!arguments->report.empty()) return report_only(arguments->report, scale);
      return run_sweep(
          {.config = arguments->config, .overrides = arguments->overrides, .out = arguments->out, .plot_scale = scale});
    };
  });
}

}  // namespace mudelta
