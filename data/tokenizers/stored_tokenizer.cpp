#include "data/tokenizers/stored_tokenizer.h"

#include <algorithm>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/checksum.h"
#include "core/files/file_reader.h"
#include "data/tokenizers/byte_tokenizer.h"
#include "data/tokenizers/sentencepiece.h"
#include "data/tokenizers/tiktoken.h"
#include "data/tokenizers/tokenizer_json.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

using Make = std::unique_ptr<Tokenizer> (*)(std::string_view content, std::string_view separator);

struct Kind {
  std::string_view name;
  std::string_view file_name;
  Make make;
};

// Of those with a file.
constexpr Kind kKinds[] = {
    {"tokenizer.json", "tokenizer.json", make_json_tokenizer},
    {"sentencepiece", "tokenizer.model", make_sentencepiece_tokenizer},
    {"tiktoken-gpt2", "gpt2.tiktoken", make_gpt2_tokenizer},
    {"tiktoken-cl100k_base", "cl100k_base.tiktoken", make_cl100k_base_tokenizer},
    {"tiktoken-o200k_base", "o200k_base.tiktoken", make_o200k_base_tokenizer},
};

const Kind& kind_named(std::string_view name) {
  const auto* kind = std::ranges::find(kKinds, name, &Kind::name);
  if (kind != std::end(kKinds)) return *kind;
  std::vector<std::string_view> known{"byte"};
  for (const Kind& one : kKinds) known.push_back(one.name);
  fail("unknown tokenizer \"{}\", known ones: {}", name, fmt::join(known, ", "));
}

// Rank files do not say which encoding they are of: their names do.
const Kind& kind_of_ranks(const fs::path& path) {
  const std::string name = path.filename().string();
  for (const std::string_view encoding : {"gpt2", "cl100k_base", "o200k_base"}) {
    if (name.starts_with(encoding)) return kind_named(fmt::format("tiktoken-{}", encoding));
  }
  if (name.starts_with("r50k_base")) return kind_named("tiktoken-gpt2");
  fail(
      "it holds ranks of tiktoken: expected a name that starts with gpt2, r50k_base, cl100k_base or o200k_base, which "
      "says how they cut a text");
}

// Of a file that a user named.
const Kind& kind_of(const fs::path& path, std::string_view content) {
  const std::size_t first = content.find_first_not_of(" \t\r\n");
  if (first != content.npos && content[first] == '{') return kind_named("tokenizer.json");
  if (is_rank_file(content)) return kind_of_ranks(path);
  if (is_sentencepiece_model(content)) return kind_named("sentencepiece");
  fail("it is no tokenizer that is known: expected a tokenizer.json, a SentencePiece model or ranks of tiktoken");
}

std::string digits_of(std::string_view content) { return xxh64_of(std::as_bytes(std::span(content))); }

StoredTokenizer make(const Kind& kind, std::string content, std::string_view separator) {
  StoredTokenizer stored;
  stored.tokenizer = kind.make(content, separator);
  stored.id = {std::string(kind.name), digits_of(content),
               stored.tokenizer->spelling_of(stored.tokenizer->separator())};
  stored.content = std::move(content);
  return stored;
}

StoredTokenizer byte_tokenizer() { return {{}, "", std::make_unique<ByteTokenizer>()}; }

}  // namespace

std::string TokenizerId::file_name() const { return kind == "byte" ? "" : std::string(kind_named(kind).file_name); }

std::string to_string(const TokenizerId& id) {
  return id.kind == "byte" ? id.kind : fmt::format("{}:{}:{}", id.kind, id.xxh64, id.separator);
}

TokenizerId parse_tokenizer_id(std::string_view text) {
  if (text == "byte") return {};
  TokenizerId id;
  const std::size_t first = text.find(':');
  id.kind = kind_named(text.substr(0, first)).name;
  const std::size_t second = first == text.npos ? first : text.find(':', first + 1);
  require(second != text.npos && second + 1 < text.size(),
          "the tokenizer \"{}\" is not of the form KIND:CHECKSUM:SEPARATOR", text);
  id.xxh64 = text.substr(first + 1, second - first - 1);
  id.separator = text.substr(second + 1);
  return id;
}

void StoredTokenizer::save(const fs::path& folder) const {
  if (const std::string name = id.file_name(); !name.empty()) write_file_atomically(folder / name, content);
}

StoredTokenizer open_tokenizer(const std::string& name, std::string_view separator) {
  if (name == "byte") {
    require(separator.empty(), "the tokenizer byte has a separator of its own, expected none to be named");
    return byte_tokenizer();
  }
  std::error_code unused;
  require(fs::exists(name, unused), "the tokenizer {} is no file and not \"byte\"", name);
  std::string content = FileReader(name).text();
  try {
    const Kind& kind = kind_of(name, content);
    return make(kind, std::move(content), separator);
  } catch (const Error& error) {
    fail("tokenizer {}: {}", name, error.what());
  }
}

StoredTokenizer load_tokenizer(const fs::path& folder, const TokenizerId& id) {
  const std::string name = id.file_name();
  if (name.empty()) return byte_tokenizer();
  const fs::path path = folder / name;
  std::string content = FileReader(path).text();
  const std::string digits = digits_of(content);
  require(digits == id.xxh64, "tokenizer {} has the xxh64 {}, expected {}", path.string(), digits, id.xxh64);
  try {
    return make(kind_named(id.kind), std::move(content), id.separator);
  } catch (const Error& error) {
    fail("tokenizer {}: {}", path.string(), error.what());
  }
}

}  // namespace mudelta
