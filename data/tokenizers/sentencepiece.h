#pragma once

#include <memory>
#include <string_view>

#include "data/tokenizers/tokenizer.h"

namespace mudelta {

// The tokenizer of a SentencePiece model (Unigram or BPE). `separator`: the piece that starts documents; empty: the
// first of the usual ones that it has. Throws Error, naming the field, on what is damaged or not supported.
std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(std::string_view model, std::string_view separator);

// Whether a file of this content may be such a model.
bool is_sentencepiece_model(std::string_view content);

}  // namespace mudelta
