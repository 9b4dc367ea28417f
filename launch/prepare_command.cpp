#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "core/error.h"
#include "data/prepare.h"
#include "dist/mpi.h"
#include "dist/process_group.h"
#include "launch/agreement.h"
#include "launch/commands.h"
#include "launch/progress.h"

namespace mudelta {
namespace {

// `text` with \n, \t and \\ in place of what they stand for, which is hard to type in a shell.
std::string unescape(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      plain += text[i];
      continue;
    }
    const char code = ++i < text.size() ? text[i] : '\0';
    require(code == 'n' || code == 't' || code == '\\', "--separator {}: after a backslash expected n, t or \\", text);
    plain += code == 'n' ? '\n' : code == 't' ? '\t' : '\\';
  }
  return plain;
}

void run_prepare(const PrepareOptions& options) {
  constexpr double kMegabyte = 1e6;
  std::optional<Progress> progress;
  const PrepareReport report = prepare(options, [&](std::int64_t done, std::int64_t total) {
    if (!progress) progress.emplace(stdout, "prepare", total);
    progress->update(done, fmt::format("{:.1f} of {:.1f} MB", done / kMegabyte, total / kMegabyte));
  });
  if (progress) progress->finish();
  fmt::print("{} documents; {} tokens to train on, {} to validate on; {} shards in {}\n", report.num_documents,
             report.train_tokens, report.validation_tokens, report.num_shards, options.out.string());
}

}  // namespace

void add_prepare_command(CLI::App& app, Command& chosen) {
  struct Arguments {
    PrepareOptions options;
    std::vector<std::string> inputs;
    std::string out, separator = "\\n\\n";
  };
  auto arguments = std::make_shared<Arguments>();
  PrepareOptions& options = arguments->options;

  CLI::App* command = app.add_subcommand("prepare", "Turn text files into a tokenized data set");
  command->footer("Example: mudelta prepare --input corpus/*.txt --out data/corpus");
  command->add_option("--input", arguments->inputs, "Text files")->type_name("FILE")->required();
  command->add_option("--out", arguments->out, "Folder for the data set; must not hold one")
      ->type_name("DIR")
      ->required();
  command->add_option("--tokenizer", options.tokenizer, "How text becomes tokens")->capture_default_str();
  command
      ->add_option("--separator", arguments->separator,
                   "Text that ends a document, with \\n for a line end; each file ends one too. Empty: a file is one "
                   "document")
      ->capture_default_str();
  command->add_option("--validation-fraction", options.validation_fraction, "Share of documents kept for validation")
      ->capture_default_str();
  command->add_option("--seed", options.seed, "Of the draw of validation documents")->capture_default_str();
  command->add_option("--shard-tokens", options.shard_tokens, "Tokens per file")->capture_default_str();

  command->callback([arguments, &chosen] {
    chosen = [arguments] {
      // One rank does it; the others only learn whether it worked.
      run_or_fail_together(ProcessGroup::world(), [&] {
        if (rank_info().rank != 0) return;
        PrepareOptions& chosen_options = arguments->options;
        chosen_options.inputs.assign(arguments->inputs.begin(), arguments->inputs.end());
        chosen_options.out = arguments->out;
        chosen_options.document_separator = unescape(arguments->separator);
        run_prepare(chosen_options);
      });
      return 0;
    };
  });
}

}  // namespace mudelta
