#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "core/files/atomic_file.h"
#include "launch/commands/commands.h"
#include "launch/config/presets.h"
#include "launch/job/agreement.h"

namespace mudelta {
namespace {

int list_presets() {
  for (const Preset& preset : presets()) fmt::print("{:<20} {}\n", preset.name, preset.summary);
  fmt::print("\nThese are files in {}; commands that read a configuration take them by name.\n",
             preset_folder().string());
  return 0;
}

}  // namespace

void add_configs_command(CLI::App& app, Command& chosen) {
  auto name = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("configs", "List the configurations that come with the program, or print one");
  command->footer("Example: mudelta configs quickstart > run.textproto");
  command->add_option("name", *name, "The one to print")->type_name("NAME");
  command->callback([name, &chosen] {
    chosen = [name] {
      return run_on_first_rank([&] {
        if (name->empty()) return list_presets();
        fmt::print("{}", read_file(find_config(*name)));
        return 0;
      });
    };
  });
}

}  // namespace mudelta
