#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizers/prefix_tree.h"
#include "data/tokenizers/sentencepiece.pb.h"

namespace mudelta {

inline constexpr std::string_view kSpaceSign = "\xe2\x96\x81";  // U+2581 stands for a space

// What a SentencePiece model does to a text before it cuts it: replaces characters as its table says, joins spaces,
// writes them as kSpaceSign and puts one in front. Bytes that are no UTF-8 become U+FFFD.
class SentencePieceNormalizer {
 public:
  // `fixed`: texts that stay as they are. It must outlive this. Throws Error if the table is damaged.
  SentencePieceNormalizer(const SentencePieceFile::Normalizer& options, const PrefixTree& fixed);

  std::string operator()(std::string_view text) const;

 private:
  struct Replaced {
    std::size_t num_bytes;  // of the text
    std::string_view by;
  };
  Replaced replace_prefix(std::string_view text) const;
  Replaced find_in_table(std::string_view text) const;  // the longest prefix; num_bytes 0: none

  SentencePieceFile::Normalizer options_;
  const PrefixTree& fixed_;
  std::vector<std::uint32_t> units_;  // a tree in a "double array"; what its leaves hold are places in replacements_
  std::string replacements_;          // each ends with a zero byte
};

}  // namespace mudelta
