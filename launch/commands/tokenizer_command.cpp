#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/file_reader.h"
#include "data/tokenizers/bpe_trainer.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/commands/text_options.h"
#include "launch/job/agreement.h"
#include "launch/job/output_path.h"
#include "launch/job/progress.h"
#include "launch/job/stop_signals.h"

namespace mudelta {
namespace {

constexpr std::int32_t kOtherTokens = 257;  // than merged ones: single bytes and <|endoftext|>

struct TrainArguments {
  std::vector<std::string> inputs;
  TextOptions text{.document_separator = ""};
  std::string out;
  std::int32_t vocab_size = 0;
  bool force = false;
};

PieceCounts count_pieces_of(const TextOptions& options) {
  const TextInputs inputs(options);
  ByteProgress progress("count pieces", inputs.num_bytes());
  BadLines bad;
  PieceCounts pieces = count_pieces(
      inputs,
      [&](std::int64_t bytes) {
        require(!stop_signalled(), "stopped by a signal: nothing is written");
        progress.update(bytes);
      },
      &bad);
  progress.finish();
  print_bad_lines(bad);
  return pieces;
}

void train(const TrainArguments& arguments) {
  require_free_file(arguments.out, arguments.force);
  catch_stop_signals();
  TextOptions text = arguments.text;
  text.files.assign(arguments.inputs.begin(), arguments.inputs.end());
  const PieceCounts pieces = count_pieces_of(text);
  const std::int32_t num_merged = arguments.vocab_size - kOtherTokens;
  Progress progress(stdout, "find tokens", num_merged);
  const ByteMerges merges = train_byte_merges(pieces, num_merged, [&](std::int32_t found) {
    require(!stop_signalled(), "stopped by a signal: nothing is written");
    progress.update(found, fmt::format("{} of {}", found, num_merged));
  });
  progress.finish();
  write_file_atomically(arguments.out, byte_level_tokenizer_json(merges));
  fmt::print("{} tokens in {}: 256 single bytes, {} found in {} different pieces, and <|endoftext|>\n",
             arguments.vocab_size, arguments.out, num_merged, pieces.size());
}

struct EncodeArguments {
  std::string tokenizer, text, file;
  bool spelt = false;
};

void encode(const EncodeArguments& arguments) {
  require(arguments.text.empty() || arguments.file.empty(), "both --text and a file were given, expected one of them");
  const auto tokenizer = open_tokenizer(arguments.tokenizer).tokenizer;
  const std::string text = arguments.file.empty() ? arguments.text : FileReader(arguments.file).text();
  const std::vector<std::int32_t> tokens = tokenizer->encode(text);
  if (!arguments.spelt) {
    fmt::print("{}\n", fmt::join(tokens, " "));
    return;
  }
  for (const std::int32_t token : tokens) fmt::print("{:>8}  {}\n", token, tokenizer->spelling_of(token));
}

struct DecodeArguments {
  std::string tokenizer;
  std::vector<std::int32_t> tokens;
};

void decode(const DecodeArguments& arguments) {
  fmt::print("{}\n", open_tokenizer(arguments.tokenizer).tokenizer->decode(arguments.tokens));
}

template <class Arguments>
void run_when_chosen(CLI::App& command, std::shared_ptr<Arguments> arguments, void (*run)(const Arguments&),
                     Command& chosen) {
  command.callback([arguments, run, &chosen] {
    chosen = [arguments, run] {
      return run_on_first_rank([&] {
        run(*arguments);
        return 0;
      });
    };
  });
}

void add_tokenizer_option(CLI::App& command, std::string& tokenizer) {
  command.add_option("--tokenizer", tokenizer, "byte, or the file of a tokenizer")->type_name("byte|FILE")->required();
}

void add_train(CLI::App& tokenizer, Command& chosen) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command = tokenizer.add_subcommand("train", "Make a byte-level BPE tokenizer from text");
  command->add_option("TEXT", arguments->inputs, "Text files, in UTF-8, or JSON lines (.jsonl); plain, .gz or .zst")
      ->type_name("FILE")
      ->required();
  add_json_lines_options(*command, arguments->text);
  add_whole_number(*command, "--vocab", arguments->vocab_size, kOtherTokens,
                   "Tokens in all: 256 single bytes, the ones that are found, and <|endoftext|>")
      ->required();
  command->add_option("--out", arguments->out, "The file to write; other programs call it tokenizer.json")
      ->type_name("FILE")
      ->required();
  add_force_option(*command, arguments->force);
  run_when_chosen(*command, arguments, train, chosen);
}

void add_encode(CLI::App& tokenizer, Command& chosen) {
  auto arguments = std::make_shared<EncodeArguments>();
  CLI::App* command = tokenizer.add_subcommand("encode", "Print the tokens of a text");
  add_tokenizer_option(*command, arguments->tokenizer);
  command->add_option("--text", arguments->text, "The text");
  command->add_option("TEXT", arguments->file, "A file with the text, if there is no --text")->type_name("FILE");
  command->add_flag("--spell", arguments->spelt, "A token a line, as the vocabulary writes it");
  run_when_chosen(*command, arguments, encode, chosen);
}

void add_decode(CLI::App& tokenizer, Command& chosen) {
  auto arguments = std::make_shared<DecodeArguments>();
  CLI::App* command = tokenizer.add_subcommand("decode", "Print the text of tokens");
  add_tokenizer_option(*command, arguments->tokenizer);
  command->add_option("ID", arguments->tokens, "Ids of tokens")
      ->required()
      ->transform(whole_number(0, std::numeric_limits<std::int32_t>::max()));
  run_when_chosen(*command, arguments, decode, chosen);
}

}  // namespace

void add_tokenizer_command(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("tokenizer", "Make a tokenizer, or look at what one does");
  command->require_subcommand(1);
  command->footer("Example: mudelta tokenizer train --vocab 8000 --out tokenizer.json corpus/*.txt");
  add_train(*command, chosen);
  add_encode(*command, chosen);
  add_decode(*command, chosen);
}

}  // namespace mudelta
