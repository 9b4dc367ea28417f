#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mudelta {

// GPT-2's spelling of bytes: 33-126, 161-172 and 174-255 as the characters of these numbers, the other 68, in order,
// as U+0100 and those that follow. Vocabularies of byte-level tokenizers are spelt so.
std::string spell_bytes(std::string_view bytes);
// The bytes that `spelling` spells; nothing if it holds a character that is not of the spelling.
std::optional<std::string> spelt_bytes(std::string_view spelling);

// The pattern by which GPT-2 cuts a text.
extern const char* const kGpt2Pattern;

}  // namespace mudelta
