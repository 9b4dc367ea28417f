#pragma once

#include <memory>
#include <string_view>

#include "data/tokenizers/tokenizer.h"

namespace mudelta {

// The tokenizers of tiktoken's rank files: a line is the base64 of a token's bytes, a space and its rank, which is its
// id. Pieces are cut by the pattern of the encoding. Special tokens come behind the ranks, at the places that OpenAI
// gave them; they are not looked for in texts. `separator`: empty or one of the special tokens.
// Throws Error, naming the line, on a file that is not of this form.
std::unique_ptr<Tokenizer> make_gpt2_tokenizer(std::string_view ranks, std::string_view separator);  // r50k_base
std::unique_ptr<Tokenizer> make_cl100k_base_tokenizer(std::string_view ranks, std::string_view separator);
std::unique_ptr<Tokenizer> make_o200k_base_tokenizer(std::string_view ranks, std::string_view separator);

// Whether a file of this content may be a rank file: its first line is one.
bool is_rank_file(std::string_view content);

}  // namespace mudelta
