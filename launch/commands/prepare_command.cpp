#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "data/prepare.h"
#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/text_options.h"
#include "launch/job/agreement.h"
#include "launch/job/stop_signals.h"

namespace mudelta {
namespace {

// What a backslash and one of kCodes stand for, as in C; \xHH is the byte of two hexadecimal digits.
constexpr std::string_view kCodes = "abfnrtv\\", kMeanings = "\a\b\f\n\r\t\v\\";

// `text` with what its backslashes stand for, which is hard to type in a shell.
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      plain += text[i];
      continue;
    }
    const std::string_view rest = text.substr(i + 1);
    const std::size_t code = kCodes.find(rest.substr(0, 1));
    unsigned char byte = 0;
    const auto digits = rest.substr(0, 1) == "x" ? rest.substr(1, 2) : "";
    if (!rest.empty() && code != kCodes.npos) {
      plain += kMeanings[code];
      i += 1;
    } else if (digits.size() == 2 && std::from_chars(digits.begin(), digits.end(), byte, 16).ptr == digits.end()) {
      plain += static_cast<char>(byte);
      i += 3;
    } else {
      fail("--separator {}: after a backslash expected one of {} or x and two hexadecimal digits", text, kCodes);
    }
  }
  return plain;
}

void print_report(const PrepareReport& report, const std::string& out) {
  if (report.num_inputs > 1) {
    fmt::print("{} files{}\n", report.num_inputs,
               report.num_empty_inputs > 0 ? fmt::format(", {} of them empty", report.num_empty_inputs) : "");
  }
  if (report.num_crlf_inputs > 0) {
    fmt::print("CRLF line ends in {} of {} files: kept, and matched by a separator's \\n\n", report.num_crlf_inputs,
               report.num_inputs);
  }
  fmt::print("{} documents, of {} bytes at the median; {} tokens to train on, {} to validate on; {} shards in {}\n",
             report.num_documents, report.median_document_bytes, report.train_tokens, report.validation_tokens,
             report.num_shards, out);
}

PrepareReport prepare_with_progress(const PrepareOptions& options) {
  std::optional<ByteProgress> progress;
  std::optional<PrepareStage> stage;
  const auto show = [&](PrepareStage now, std::int64_t done, std::int64_t total) {
    require(!stop_signalled(), "stopped by a signal: nothing is kept in {}", options.out.string());
    if (stage != now) {
      if (progress) progress->finish();
      progress.emplace(now == PrepareStage::kLook ? "look through" : "prepare", total);
      stage = now;
    }
    progress->update(done);
  };
  PrepareReport report = prepare(options, show);
  if (progress) progress->finish();
  return report;
}

void run_prepare(const PrepareOptions& options, bool separator_by_default) {
  catch_stop_signals();
  const PrepareReport report = prepare_with_progress(options);
  print_bad_lines(report.bad_lines);
  print_report(report, options.out.string());
  if (!separator_by_default || report.num_inputs == report.num_json_lines_inputs) return;
  fmt::print(
      "A document ended at each empty line. In a plain text that makes every paragraph one of its own, and with "
      "data.reset_at_documents a model does not see those before it: --whole-files makes each file one.\n");
}

}  // namespace

void add_prepare_command(CLI::App& app, Command& chosen) {
  struct Arguments {
    PrepareOptions options;
    std::vector<std::string> inputs;
    std::string out, separator = "\\n\\n";
    bool whole_files = false;
  };
  auto arguments = std::make_shared<Arguments>();
  PrepareOptions& options = arguments->options;

  CLI::App* command = app.add_subcommand("prepare", "Turn text into a tokenized data set");
  command->footer(
      "Example: mudelta prepare --input corpus/*.txt --out data/corpus\n"
      "         mudelta prepare --input corpus.jsonl.zst --tokenizer tokenizer.json --out data/corpus");
  command
      ->add_option("--input", arguments->inputs,
                   "Text files, or JSON lines (.jsonl), each line a document; plain, .gz or .zst")
      ->type_name("FILE")
      ->required();
  command->add_option("--out", arguments->out, "Folder for the data set; must not hold one")
      ->type_name("DIR")
      ->required();
  command->add_option("--tokenizer", options.tokenizer, "How text becomes tokens: byte, or the file of a tokenizer")
      ->type_name("byte|FILE")
      ->capture_default_str();
  command
      ->add_option("--separator-token", options.separator_token,
                   "The tokenizer's token that starts each document. Left out: the first of <|endoftext|>, "
                   "<|end_of_text|>, <eos>, </s> and [EOS] that it has")
      ->type_name("TOKEN");
  CLI::Option* separator =
      command
          ->add_option("--separator", arguments->separator,
                       "Text that ends a document of a text file, as the file's end does. \\n (which a CRLF matches "
                       "too), \\t, \\f, "
                       "\\x1e and the like stand for their characters. The default is an empty line: each paragraph "
                       "of a plain text becomes a document of its own")
          ->capture_default_str();
  add_json_lines_options(*command, options.text);
  command->add_flag("--whole-files", arguments->whole_files, "Each text file is one document")->excludes(separator);
  command->add_option("--validation-fraction", options.validation_fraction, "Share of documents kept for validation")
      ->check(finite_number())
      ->capture_default_str();
  add_whole_number(*command, "--seed", options.seed, 0, "Of the draw of validation documents");
  add_whole_number(*command, "--shard-tokens", options.shard_tokens, 1, "Tokens per file");

  command->callback([arguments, separator, &chosen] {
    const bool by_default = separator->count() == 0 && !arguments->whole_files;
    chosen = [arguments, by_default] {
      return run_on_first_rank([&] {
        TextOptions& text = arguments->options.text;
        text.files.assign(arguments->inputs.begin(), arguments->inputs.end());
        text.document_separator = arguments->whole_files ? "" : unescape(arguments->separator);
        arguments->options.out = arguments->out;
        run_prepare(arguments->options, by_default);
        return 0;
      });
    };
  });
}

}  // namespace mudelta
