#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/adopt.h"
#include "data/dataset.h"
#include "data/dataset_info.h"
#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/text_options.h"
#include "launch/job/agreement.h"
#include "launch/job/progress.h"
#include "launch/job/stop_signals.h"
#include "launch/job/stopwatch.h"

namespace mudelta {
namespace {

constexpr double kMegabyte = 1e6;

void verify(const std::filesystem::path& folder) {
  const DatasetInfo info = read_dataset_info(folder);
  const auto shards = all_shards(info);
  std::int64_t num_bytes = 0, num_read = 0;
  for (const auto& shard : shards) num_bytes += num_bytes_of(info, shard);

  const Stopwatch stopwatch;
  Progress progress(stdout, "verify", num_bytes);
  std::string first_problem;
  int num_damaged = 0;
  for (const auto& shard : shards) {
    try {
      verify_shard(folder, info, shard, [&](std::int64_t bytes) {
        num_read += bytes;
        progress.update(num_read, fmt::format("{:.1f} of {:.1f} MB", num_read / kMegabyte, num_bytes / kMegabyte));
      });
    } catch (const Error& error) {
      if (num_damaged++ == 0) first_problem = error.what();
      progress.print(error.what());
    }
  }
  progress.finish();
  require(num_damaged == 0, "{} of the {} shards of {} are damaged; the first: {}", num_damaged, shards.size(),
          folder.string(), first_problem);
  fmt::print("{} shards, {:.1f} MB: all as dataset.json says, read in {:.2f} s\n", shards.size(), num_bytes / kMegabyte,
             stopwatch.seconds());
}

struct AdoptArguments {
  AdoptOptions options;
  std::vector<std::string> train, validation;
  std::string out;
};

void run_adopt(AdoptArguments& arguments) {
  AdoptOptions& options = arguments.options;
  options.train.assign(arguments.train.begin(), arguments.train.end());
  options.validation.assign(arguments.validation.begin(), arguments.validation.end());
  options.out = arguments.out;
  catch_stop_signals();
  std::optional<ByteProgress> progress;
  const AdoptReport report = adopt(options, [&](std::int64_t done, std::int64_t total) {
    require(!stop_signalled(), "stopped by a signal: nothing is kept in {}", arguments.out);
    if (!progress) progress.emplace("read", total);
    progress->update(done);
  });
  if (progress) progress->finish();
  fmt::print("{} tokens to train on, {} to validate on, {} separators; {} names the files, which stay where they are\n",
             report.train_tokens, report.validation_tokens, report.num_separators,
             dataset_info_path(options.out).string());
}

void add_adopt(CLI::App& data, Command& chosen) {
  auto arguments = std::make_shared<AdoptArguments>();
  AdoptOptions& options = arguments->options;
  CLI::App* command = data.add_subcommand(
      "adopt", "Make a data set of tokens that llm.c or Megatron wrote: they are checked, and used where they are");
  command->footer(
      "Example: mudelta data adopt --train fineweb_train_*.bin --validation fineweb_val_*.bin \\\n"
      "           --tokenizer gpt2/tokenizer.json --out data/fineweb");
  constexpr const char* kFiles = "llm.c's .bin files, or Megatron's .idx files, beside their .bin";
  command->add_option("--train", arguments->train, kFiles)->type_name("FILE")->required();
  command->add_option("--validation", arguments->validation, kFiles)->type_name("FILE");
  command
      ->add_option("--validation-fraction", options.validation_fraction,
                   "Without --validation: the share of the tokens that validates, at the end of the others")
      ->check(finite_number())
      ->capture_default_str();
  command->add_option("--tokenizer", options.tokenizer, "What made the tokens: byte, or the file of a tokenizer")
      ->type_name("byte|FILE")
      ->required();
  command
      ->add_option("--separator-token", options.separator_token,
                   "The tokenizer's token that stands between documents. Left out: the first of <|endoftext|>, "
                   "<|end_of_text|>, <eos>, </s> and [EOS] that it has")
      ->type_name("TOKEN");
  command->add_option("--out", arguments->out, "Folder for dataset.json and the tokenizer; must not hold a data set")
      ->type_name("DIR")
      ->required();
  command->callback([arguments, &chosen] {
    chosen = [arguments] {
      return run_on_first_rank([&] {
        run_adopt(*arguments);
        return 0;
      });
    };
  });
}

}  // namespace

void add_data_command(CLI::App& app, Command& chosen) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("data", "Look after data sets");
  command->require_subcommand(1);
  command->footer("Example: mudelta data verify data/corpus");
  CLI::App* verify_command = command->add_subcommand(
      "verify", "Read every shard whole; compare size, header, token ids and checksum with what dataset.json says");
  verify_command->add_option("DIR", *folder, "Folder written by mudelta prepare or data adopt")->required();
  add_adopt(*command, chosen);
  verify_command->callback([folder, &chosen] {
    chosen = [folder] {
      return run_on_first_rank([&] {
        verify(*folder);
        return 0;
      });
    };
  });
}

}  // namespace mudelta
