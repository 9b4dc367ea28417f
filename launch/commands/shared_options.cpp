#include "launch/commands/shared_options.h"

#include <CLI/CLI.hpp>

#include "optim/optimizer_kind.h"

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

std::vector<std::string> optimizer_names() {
  std::vector<std::string> names;
  for (const OptimizerKind kind : optimizer_kinds()) names.emplace_back(name_of(kind));
  return names;
}

void add_device_option(CLI::App& command, std::string& device) {
  command.add_option("--device", device, "AUTO (a GPU where there is one), CPU or CUDA")
      ->transform(CLI::IsMember({"AUTO", "CPU", "CUDA"}, CLI::ignore_case))
      ->capture_default_str();
}

}  // namespace mudelta
