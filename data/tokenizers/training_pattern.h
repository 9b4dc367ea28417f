#pragma once

namespace mudelta {

// How a tokenizer that is trained here cuts a text, as Llama 3's does: words with the space or sign before them, at
// most three digits, signs with the line ends behind them, white space.
inline constexpr const char* kTrainingPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace mudelta
