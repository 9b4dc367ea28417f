#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dist/mpi.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "launch/commands/commands.h"
#include "launch/commands/dry_run.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/config/documented_config.h"
#include "launch/config/run_config.h"
#include "launch/interop/foreign_weights.h"
#include "launch/job/agreement.h"
#include "launch/train/initial_weights.h"
#include "launch/train/training_job.h"

namespace mudelta {
namespace {

// The configuration, or what a run of `ranks` ranks would take; 0: of this job's.
int show(const TrainingRequest& request, bool prints, const std::string& field, int ranks) {
  return run_on_first_rank([&] {
    const int known_ranks = ranks > 0 ? ranks : rank_info().size;
    RunConfig config = load_run_config(request.config, request.overrides);
    if (request.initial_weights) config = with_model_of(config, *request.initial_weights());
    const RunConfig complete = complete_without_data(config, known_ranks);
    if (prints) {
      fmt::print("{}", documented_text(complete, field));
    } else {
      print_dry_run(complete, known_ranks);
    }
    return 0;
  });
}

}  // namespace

void add_train_command(CLI::App& app, Command& chosen) {
  struct Arguments {
    TrainingRequest request;
    std::string config, out, init_from, field;
    bool dry_run = false;
    int ranks = 0;
    std::optional<std::int64_t> from;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("train", "Train a model, alone or on every rank of mpirun");
  command->footer(
      "Example: mpirun -n 2 mudelta train launch/configs/quickstart.textproto --set data.path=data/corpus --out "
      "runs/1\n"
      "         mudelta train finetune.textproto --init-from runs/1 --set data.path=data/more --out runs/2\n"
      "`mudelta configs` lists configurations that CONFIG may name; --print-config describes all fields.\n"
      "SIGTERM, SIGINT, SIGUSR1 and SIGHUP write a checkpoint before the run ends. mpirun passes on SIGUSR1 and "
      "leaves\n"
      "time for it; after the others it kills its ranks within seconds (docs/clusters.md).");
  command->add_option("config", arguments->config, "Configuration in protobuf text format: a file or a preset")
      ->type_name("CONFIG")
      ->required();
  add_set_option(*command, arguments->request.overrides);
  command->add_option("--out", arguments->out, "Folder of the run; must not hold one, except with --resume")
      ->type_name("RUN_DIR");
  command->add_flag("--resume", arguments->request.resume,
                    "Go on from the newest checkpoint in RUN_DIR; from the start if there is none");
  command
      ->add_option("--from", arguments->from,
                   "With --resume: go on from the checkpoint of this step. Later ones are set aside, as "
                   "checkpoints/set-aside-step-*")
      ->type_name("STEP")
      ->transform(whole_number(0))
      ->needs("--resume");
  command
      ->add_option(
          "--allow", arguments->request.allowed,
          "With --resume: this field may have another value than the checkpoint has, though the run is another "
          "one from there on")
      ->type_name("FIELD")
      ->check(CLI::IsMember(std::vector<std::string>(allowable_fields().begin(), allowable_fields().end())))
      ->needs("--resume");
  command
      ->add_option(
          "--init-from", arguments->init_from,
          "Start from the weights of a checkpoint, of a run (its newest one) or of a folder that import reads, with a "
          "new schedule, optimizer state and data. What CONFIG leaves out of `model` is theirs")
      ->type_name("DIR");
  const CLI::Option* print =
      command->add_flag("--print-config", arguments->field,
                        "Trains nothing: prints the configuration with every default and what each field means.\n"
                        "--print-config=FIELD: one field, or what is in it, e.g. optimizer.adamw");
  command->add_flag("--dry-run", arguments->dry_run,
                    "Trains nothing: prints what the scaling rules make of every parameter, and what the run takes");
  add_whole_number(*command, "--ranks", arguments->ranks, 1, "With --dry-run: of so many ranks")
      ->default_str("this job's");
  command->callback([arguments, print, &chosen] {
    TrainingRequest& request = arguments->request;
    request.config = arguments->config;
    request.out = arguments->out;
    request.from = arguments->from;
    if (!arguments->init_from.empty()) {
      request.initial_weights = [folder = arguments->init_from] { return open_weights(folder); };
    }
    if (print->count() > 0 || arguments->dry_run) {
      if (arguments->field == "true") arguments->field.clear();  // what CLI11 has for a flag without a value
      chosen = [arguments, prints = print->count() > 0] {
        return show(arguments->request, prints, arguments->field, arguments->ranks);
      };
      return;
    }
    if (arguments->out.empty()) throw CLI::RequiredError("--out");
    chosen = [arguments] { return run_training(arguments->request); };
  });
}

}  // namespace mudelta
