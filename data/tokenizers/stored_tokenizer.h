#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "data/tokenizers/tokenizer.h"

namespace mudelta {

// Which tokenizer made some tokens. "byte" has no file; of the others, data sets and checkpoints keep the file, under a
// name that follows from the kind.
struct TokenizerId {
  std::string kind = "byte";
  std::string xxh64;      // of the file; 16 hexadecimal digits
  std::string separator;  // the spelling of the token that starts documents

  bool operator==(const TokenizerId&) const = default;
  std::string file_name() const;  // empty: it has none
};

std::string to_string(const TokenizerId& id);  // "byte", "tokenizer.json:0123456789abcdef:<|endoftext|>"
// Throws Error, naming the known kinds, unless `text` is of to_string's form.
TokenizerId parse_tokenizer_id(std::string_view text);

// A tokenizer with what is needed to keep it.
struct StoredTokenizer {
  TokenizerId id;
  std::string content;  // of its file
  std::unique_ptr<Tokenizer> tokenizer;

  void save(const std::filesystem::path& folder) const;  // its file, if it has one; throws Error
};

// What a user names: "byte" or a file. `separator`: the spelling of the token that is to start documents; empty: the
// first of the usual ones that the tokenizer has. Throws Error, naming the file and what is wrong in it.
StoredTokenizer open_tokenizer(const std::string& name, std::string_view separator = "");

// The tokenizer of a data set or checkpoint. Throws Error, naming the file, if that is missing, has another checksum
// than `id` or cannot be used.
StoredTokenizer load_tokenizer(const std::filesystem::path& folder, const TokenizerId& id);

}  // namespace mudelta
