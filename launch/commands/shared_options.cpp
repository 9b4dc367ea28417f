#include "launch/commands/shared_options.h"

#include <CLI/CLI.hpp>

namespace mudelta {

void add_set_option(CLI::App& command, std::vector<std::string>& overrides) {
  command
      .add_option("--set", overrides, "Change one field of the configuration, e.g. model.width=512; may be repeated")
      ->type_name("FIELD=VALUE")
      ->allow_extra_args(false);
}

void add_force_option(CLI::App& command, bool& force) {
  command.add_flag("--force", force, "Write over results that are there already");
}

void add_device_option(CLI::App& command, std::string& device) {
  command.add_option("--device", device, "AUTO (a GPU where there is one), CPU or CUDA")
      ->transform(CLI::IsMember({"AUTO", "CPU", "CUDA"}, CLI::ignore_case))
      ->capture_default_str();
}

}  // namespace mudelta
