#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "dist/mpi.h"
#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/config/name_hints.h"
#include "launch/job/agreement.h"
#include "launch/job/build_info.h"
#include "launch/job/job.h"
#include "launch/job/logging.h"

namespace mudelta {
namespace {

void describe(CLI::App& app, Command& chosen) {
  app.description(
      "mudelta: pre-trains Gated Delta Network language models and carries their hyperparameters from a\n"
      "small proxy to a wide run.");
  app.footer(
      "Example: mudelta prepare --input corpus.txt --out data/corpus\n"
      "Each command has its own --help. Under mpirun every rank runs the same command.");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  for (const AddCommand add : kCommands) add(app, chosen);
}

// What is wrong with the command line; the parser's own words miss a misspelt command.
std::string usage_problem(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  if (first.empty() || first.starts_with('-')) return fmt::format("{} (see mudelta --help)", error.what());
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (std::ranges::count(names, first) > 0) return fmt::format("{} (see mudelta {} --help)", error.what(), first);
  const std::string nearest = nearest_name(first, names);
  const std::string hint = nearest.empty() ? "" : fmt::format("; did you mean `{}`?", nearest);
  return fmt::format("`{}` is not a command{} (see mudelta --help)", first, hint);
}

// What the command line asks for. A wrong one becomes a command that fails, so that under mpirun it is reported once.
Command parse(int argc, char** argv) {
  CLI::App app("", "mudelta");
  Command chosen;
  describe(app, chosen);
  try {
    std::vector<std::string> arguments = join_lists(app, {argv + 1, argv + argc});
    std::ranges::reverse(arguments);  // as CLI11 wants them
    app.parse(std::move(arguments));
  } catch (const CLI::Success& help) {
    std::ostringstream text;
    app.exit(help, text, text);
    return [text = text.str()] {
      if (rank_info().rank == 0) fmt::print("{}", text);
      return 0;
    };
  } catch (const CLI::ParseError& error) {
    return [problem = usage_problem(app, error, argc, argv)]() -> int { throw SharedError(problem); };
  }
  return chosen;
}

}  // namespace
}  // namespace mudelta

int main(int argc, char** argv) {
  mudelta::start_logging(argv[0]);
  return mudelta::run_job(mudelta::parse(argc, argv), argc, argv);
}
