#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/interop/foreign_format.h"
#include "launch/interop/model_export.h"
#include "launch/job/agreement.h"

namespace mudelta {
namespace {

struct Arguments {
  ExportRequest request;
  std::string weights, out;
  std::string dtype = "float32";
  std::int64_t file_mib = 4096;
};

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const ForeignFormat* format : foreign_formats()) names.emplace_back(format->name);
  names.emplace_back(kOwnFormat);
  return names;
}

}  // namespace

void add_export_command(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  arguments->request.probe_tokens = 128;
  CLI::App* command = app.add_subcommand("export", "Write a model as transformers and flash-linear-attention open it");
  command->footer(
      "Example: mudelta export runs/1 --format fla --out exported --dtype bfloat16\n"
      "fla: for flash-linear-attention. qwen3_5: for transformers, without a GPU too; the model runs there with\n"
      "use_cache=False. mudelta: a checkpoint without optimizer state. muP's factor on the logits goes into the "
      "weights;\n"
      "what cannot be exact is said (docs/interop.md).");
  command
      ->add_option("weights", arguments->weights,
                   "A checkpoint, a run (then its newest one), or a folder that import reads")
      ->type_name("DIR")
      ->required();
  command->add_option("--format", arguments->request.format, "fla, qwen3_5 or mudelta")
      ->transform(CLI::IsMember(format_names(), CLI::ignore_case))
      ->required();
  command->add_option("--out", arguments->out, "Folder to write; must be absent or empty, except with --force")
      ->type_name("DIR")
      ->required();
  command->add_option("--dtype", arguments->dtype, "Of the matrices: float32 or bfloat16")
      ->transform(CLI::IsMember({"float32", "bfloat16"}, CLI::ignore_case))
      ->capture_default_str();
  add_whole_number(*command, "--file-mib", arguments->file_mib, 1, "Weights go into files of at most N MiB each");
  add_whole_number(*command, "--probe-tokens", arguments->request.probe_tokens, 0,
                   "Length of the text on which the model is compared with what its reader computes; 0: it is not");
  add_force_option(*command, arguments->request.force);
  command->callback([arguments, &chosen] {
    chosen = [arguments] {
      return run_on_first_rank([&] {
        ExportRequest& request = arguments->request;
        request.weights = arguments->weights;
        request.out = arguments->out;
        request.dtype = arguments->dtype == "bfloat16" ? DType::kBFloat16 : DType::kFloat32;
        request.file_bytes = product_of({arguments->file_mib, 1 << 20});
        fmt::print("{}", export_model(request));
        return 0;
      });
    };
  });
}

}  // namespace mudelta
