#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/tokenizers/pair_table.h"
#include "data/tokenizers/piece_cache.h"

namespace mudelta {

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
using TokenIds = std::unordered_map<std::string, std::int32_t, TextHash, std::equal_to<>>;  // by the token's text

// Byte-pair encoding of the pieces of a text (Sennrich et al., "Neural machine translation of rare words with subword
// units", ACL 2016): a piece becomes the tokens of its characters, or bytes, of which neighbours are merged. For one
// thread.
class Bpe {
 public:
  enum class Units { kBytes, kCharacters };  // what a piece is taken apart into first
  struct Options {
    Units units = Units::kBytes;
    bool whole_pieces = false;   // a piece that is a token becomes it, whatever the merges make of it
    bool byte_fallback = false;  // a character that is no token becomes the tokens "<0x0A>" of its bytes
    std::int32_t unknown = -1;   // the token of what has none otherwise; -1: it is left out
    bool fuse_unknown = false;   // neighbours of that kind become one
  };

  Bpe(TokenIds tokens, PairTable merges, const Options& options);

  // Appends the tokens of a piece.
  void encode(std::string_view piece, std::vector<std::int32_t>& tokens) const;

  const TokenIds& tokens() const { return tokens_; }

 private:
  void start(std::string_view piece) const;
  bool append_bytes(std::string_view character) const;
  void merge_few() const;
  void merge_many() const;

  TokenIds tokens_;
  PairTable merges_;
  Options options_;
  std::array<std::int32_t, 256> byte_tokens_;      // of single bytes; -1: none
  std::array<std::int32_t, 256> fallback_tokens_;  // "<0x0A>"; -1: none
  mutable std::vector<std::int32_t> symbols_;      // of the piece that is being merged
  mutable PieceCache cache_;
};

}  // namespace mudelta
