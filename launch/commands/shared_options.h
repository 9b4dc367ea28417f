#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

// Options that several commands have.

namespace mudelta {

// `--set FIELD=VALUE`, any number of times.
void add_set_option(CLI::App& command, std::vector<std::string>& overrides);
// `--force`: results may replace what is there (launch/job/output_path.h).
void add_force_option(CLI::App& command, bool& force);
// What `--optimizer` takes: names of all kinds, "ADAMW".
std::vector<std::string> optimizer_names();
// `--device AUTO|CPU|CUDA`, in any case; `device` holds the default.
void add_device_option(CLI::App& command, std::string& device);

}  // namespace mudelta
