// tokenize FILE TEXTS: prints the tokens of each text of TEXTS, a JSON array of strings, as a JSON array a line.
// tokenize --time FILE TEXT: encodes the documents of a text file, which empty lines part, and prints the number of
// their tokens and the seconds that it took.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ctime>
#include <string_view>
#include <vector>

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

void print_time(const std::string& file, const std::string& text_file) {
  constexpr std::string_view kSeparator = "\n\n";
  const StoredTokenizer stored = open_tokenizer(file);
  const std::string text = read_file(text_file);
  std::vector<std::string_view> documents;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find(kSeparator), rest.size());
    if (end > 0) documents.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + kSeparator.size(), rest.size()));
  }
  const std::clock_t start = std::clock();
  std::size_t count = 0;
  for (const std::string_view document : documents) count += stored.tokenizer->encode(document).size();
  fmt::print("{} {:.6f}\n", count, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
}

int run(int argc, char** argv) {
  try {
    if (argc == 4 && std::string_view(argv[1]) == "--time") {
      print_time(argv[2], argv[3]);
    } else {
      require(argc == 3, "usage: tokenize FILE TEXTS | tokenize --time FILE TEXT");
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
