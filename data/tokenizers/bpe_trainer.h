#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/text/text_inputs.h"
#include "data/tokenizers/bpe.h"

namespace mudelta {

// How often each piece of a text occurs.
using PieceCounts = std::unordered_map<std::string, std::int64_t, TextHash, std::equal_to<>>;

// The pieces of documents, cut as a trained tokenizer will cut them, by all threads of OpenMP. Bytes that are no UTF-8
// are left out. Calls progress(bytes) with what was read of all files so far; what that throws ends it. Throws Error,
// and adds to `bad`, as TextInputs does.
PieceCounts count_pieces(const TextInputs& inputs, const std::function<void(std::int64_t num_bytes)>& progress,
                         BadLines* bad = nullptr);

using ByteMerges = std::vector<std::pair<std::string, std::string>>;  // pairs of tokens, by rank

// The merges of a byte-level encoding with `num_tokens` tokens besides the 256 single bytes: again and again the pair
// of neighbours that is the most frequent, of equals that whose tokens are the oldest. The same counts give the same
// merges. Calls progress(tokens) with what was found so far. Throws Error if no pair occurs twice before that.
ByteMerges train_byte_merges(const PieceCounts& pieces, std::int32_t num_tokens,
                             const std::function<void(std::int32_t num_tokens)>& progress);

// A tokenizer.json with the single bytes as ids 0..255, the merges' tokens in their order and <|endoftext|> as the
// last.
std::string byte_level_tokenizer_json(const ByteMerges& merges);

}  // namespace mudelta
