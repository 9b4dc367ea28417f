#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "launch/commands/commands.h"
#include "launch/commands/shared_options.h"
#include "launch/interop/model_import.h"
#include "launch/job/agreement.h"

namespace mudelta {

void add_import_command(CLI::App& app, Command& chosen) {
  struct Arguments {
    ImportRequest request;
    std::string from, out;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("import", "Make a checkpoint of a model of transformers or fla");
  command->footer(
      "Example: mudelta import exported --out imported --set data.tokenizer=byte\n"
      "Reads model_type gated_deltanet (fla) and qwen3_5_text (transformers) where all layers are gated delta "
      "networks.\n"
      "`eval`, `generate` and `train --init-from` open what it writes. The model gets standard parametrization, "
      "unless\n"
      "--set parametrization.base_width=WIDTH says which width its hyperparameters were tuned at.");
  command->add_option("from", arguments->from, "Folder with config.json and safetensors files")
      ->type_name("DIR")
      ->required();
  command->add_option("--out", arguments->out, "Checkpoint to write; must be absent or empty, except with --force")
      ->type_name("DIR")
      ->required();
  add_set_option(*command, arguments->request.overrides);
  add_force_option(*command, arguments->request.force);
  command->callback([arguments, &chosen] {
    chosen = [arguments] {
      return run_on_first_rank([&] {
        arguments->request.from = arguments->from;
        arguments->request.out = arguments->out;
        fmt::print("{}", import_model(arguments->request));
        return 0;
      });
    };
  });
}

}  // namespace mudelta
