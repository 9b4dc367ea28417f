#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/job/agreement.h"
#include "launch/transfer/sweep/transfer_check.h"

namespace mudelta {

void add_transfer_check_command(CLI::App& app, Command& chosen) {
  struct Arguments {
    TransferCheckRequest request;
    std::string parametrization, optimizer;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("transfer-check",
                                         "See whether a sweep shows that its best learning rate holds at every width");
  command->footer(
      "Example: mudelta transfer-check runs/sweep\n"
      "The exit code is 0 if, at the widest, the drift of the best learning rate is within its error of 0, and "
      "training\n"
      "with that of the base width costs no more than --max-regret; else 1. docs/mup.md says it in full.");
  command->add_option("sweep", arguments->request.folder, "Folder of the sweep")->type_name("SWEEP_DIR")->required();
  command
      ->add_option("--parametrization", arguments->parametrization, "The one that counts: GDN_MUP if the sweep has it")
      ->transform(CLI::IsMember({"SP", "MUP", "GDN_MUP"}, CLI::ignore_case));
  command->add_option("--optimizer", arguments->optimizer, "The one that counts; all if left out")
      ->transform(CLI::IsMember(optimizer_names(), CLI::ignore_case));
  command->add_option("--max-regret", arguments->request.max_regret, "Nats per token")
      ->transform(positive_number())
      ->capture_default_str();
  command->callback([arguments, &chosen] {
    chosen = [arguments] {
      return run_on_first_rank([&] {
        TransferCheckRequest request = arguments->request;
        if (!arguments->parametrization.empty()) {
          request.parametrization = parse_parametrization(arguments->parametrization);
        }
        if (!arguments->optimizer.empty()) request.optimizer = parse_optimizer_kind(arguments->optimizer);
        const TransferCheck check = check_transfer(request);
        fmt::print("{}", check.text);
        return check.accepted ? 0 : 1;
      });
    };
  });
}

}  // namespace mudelta
