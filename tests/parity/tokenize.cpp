// tokenize FILE TEXTS: prints the tokens of each text of TEXTS, a JSON array of strings, as a JSON array a line.
// tokenize --time FILE TEXT TIMES: encodes the text file TIMES times and prints the number of tokens and the seconds of
// each.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/json.h"
#include "data/tokenizers/stored_tokenizer.h"

namespace mudelta {
namespace {

void print_tokens(const std::string& file, const std::string& texts) {
  const StoredTokenizer stored = open_tokenizer(file);
  for (const auto& text : parse_json<nlohmann::json>(read_file(texts))) {
    const std::vector<std::int32_t> tokens = stored.tokenizer->encode(text.get<std::string>());
    fmt::print(
        "{{\"tokens\":[{}],\"text\":{}}}\n", fmt::join(tokens, ","),
        nlohmann::json(stored.tokenizer->decode(tokens)).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  }
}

void print_times(const std::string& file, const std::string& text_file, int times) {
  const std::string text = read_file(text_file);
  for (int i = 0; i < times; ++i) {
    const StoredTokenizer stored = open_tokenizer(file);
    const auto start = std::chrono::steady_clock::now();
    const std::size_t count = stored.tokenizer->encode(text).size();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    fmt::print("{} {:.6f}\n", count, seconds.count());
  }
}

int run(int argc, char** argv) {
  try {
    if (argc == 5 && std::string_view(argv[1]) == "--time") {
      print_times(argv[2], argv[3], std::atoi(argv[4]));
    } else {
      require(argc == 3, "usage: tokenize FILE TEXTS | tokenize --time FILE TEXT TIMES");
      print_tokens(argv[1], argv[2]);
    }
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}

}  // namespace
}  // namespace mudelta

int main(int argc, char** argv) { return mudelta::run(argc, argv); }
