#include <CLI/CLI.hpp>
#include <memory>

#include "launch/commands.h"
#include "launch/training_run.h"

namespace mudelta {

void add_train_command(CLI::App& app, Command& chosen) {
  struct Arguments {
    TrainingRequest request;
    std::string config, out;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("train", "Train a model, alone or on every rank of mpirun");
  command->footer(
      "Example: mpirun -n 2 mudelta train launch/configs/quickstart.textproto --set data.path=data/corpus --out "
      "runs/1\n"
      "All fields of the configuration are described in launch/config.proto and the files that it imports.\n"
      "SIGTERM, SIGINT and SIGUSR1 write a checkpoint before the run ends. mpirun passes on SIGUSR1 and leaves time\n"
      "for it; after the other two it kills its ranks within seconds (see docs/clusters.md).");
  command->add_option("config", arguments->config, "Configuration in protobuf text format")
      ->type_name("CONFIG.textproto")
      ->required();
  add_set_option(*command, arguments->request.overrides);
  command->add_option("--out", arguments->out, "Folder of the run; must not hold one, except with --resume")
      ->type_name("RUN_DIR")
      ->required();
  command->add_flag("--resume", arguments->request.resume,
                    "Go on from the newest checkpoint in RUN_DIR; from the start if there is none");
  command->callback([arguments, &chosen] {
    chosen = [arguments] {
      arguments->request.config = arguments->config;
      arguments->request.out = arguments->out;
      return run_training(arguments->request);
    };
  });
}

}  // namespace mudelta
