#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace mudelta {

// What the chosen subcommand does once the command line is understood, on every rank; its result is the exit code.
// It may throw: SharedError where every rank does so alike, anything else ends the whole job (launch/job.h).
using Command = std::function<int()>;

// Each adds one subcommand, with its options and help, to `app`; if the command line names it, `chosen` becomes it.
using AddCommand = void (*)(CLI::App& app, Command& chosen);
void add_prepare_command(CLI::App& app, Command& chosen);
void add_data_command(CLI::App& app, Command& chosen);
void add_configs_command(CLI::App& app, Command& chosen);
void add_train_command(CLI::App& app, Command& chosen);
void add_eval_command(CLI::App& app, Command& chosen);
void add_generate_command(CLI::App& app, Command& chosen);
void add_coord_check_command(CLI::App& app, Command& chosen);
void add_sweep_command(CLI::App& app, Command& chosen);
void add_scale_up_command(CLI::App& app, Command& chosen);
void add_bench_command(CLI::App& app, Command& chosen);
void add_info_command(CLI::App& app, Command& chosen);

// In the order of `mudelta --help`.
inline constexpr AddCommand kCommands[] = {
    add_prepare_command,  add_data_command,     add_configs_command,     add_train_command,
    add_eval_command,     add_generate_command, add_coord_check_command, add_sweep_command,
    add_scale_up_command, add_bench_command,    add_info_command,
};

// `--set FIELD=VALUE`, any number of times.
void add_set_option(CLI::App& command, std::vector<std::string>& overrides);
// `--force`: results may replace what is there (launch/output_path.h).
void add_force_option(CLI::App& command, bool& force);
// `--device AUTO|CPU|CUDA`, in any case; `device` holds the default.
void add_device_option(CLI::App& command, std::string& device);

}  // namespace mudelta
