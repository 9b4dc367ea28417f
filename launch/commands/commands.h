#pragma once

#include "launch/job/job.h"

namespace CLI {
class App;
}

namespace mudelta {

// Each adds one subcommand, with its options and help, to `app`; if the command line names it, `chosen` becomes it.
using AddCommand = void (*)(CLI::App& app, Command& chosen);
void add_prepare_command(CLI::App& app, Command& chosen);
void add_tokenizer_command(CLI::App& app, Command& chosen);
void add_data_command(CLI::App& app, Command& chosen);
void add_configs_command(CLI::App& app, Command& chosen);
void add_train_command(CLI::App& app, Command& chosen);
void add_eval_command(CLI::App& app, Command& chosen);
void add_generate_command(CLI::App& app, Command& chosen);
void add_checkpoint_command(CLI::App& app, Command& chosen);
void add_export_command(CLI::App& app, Command& chosen);
void add_import_command(CLI::App& app, Command& chosen);
void add_coord_check_command(CLI::App& app, Command& chosen);
void add_sweep_command(CLI::App& app, Command& chosen);
void add_transfer_check_command(CLI::App& app, Command& chosen);
void add_scale_up_command(CLI::App& app, Command& chosen);
void add_plan_command(CLI::App& app, Command& chosen);
void add_plot_command(CLI::App& app, Command& chosen);
void add_bench_command(CLI::App& app, Command& chosen);
void add_info_command(CLI::App& app, Command& chosen);

// In the order of `mudelta --help`.
inline constexpr AddCommand kCommands[] = {
    add_tokenizer_command,   add_prepare_command,  add_data_command,           add_configs_command,  add_train_command,
    add_eval_command,        add_generate_command, add_checkpoint_command,     add_export_command,   add_import_command,
    add_coord_check_command, add_sweep_command,    add_transfer_check_command, add_scale_up_command, add_plot_command,
    add_plan_command,        add_bench_command,    add_info_command,
};

}  // namespace mudelta
