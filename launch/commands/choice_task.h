#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/tokenizers/tokenizer.h"
#include "launch/train/scoring.h"

namespace mudelta {

// A question with answers to choose from; with one answer, the question is whether the model would have given it.
struct ChoiceItem {
  std::string context;
  std::vector<std::string> choices;  // each follows on the context as it stands
  std::size_t answer = 0;            // the right one
};

// Items of JSON lines, of one of these layouts:
//   {"context": TEXT, "choices": [TEXT, ...], "answer": NUMBER}             as it stands
//   {"ctx": TEXT, "endings": [TEXT, ...], "label": NUMBER}                  HellaSwag
//   {"question": TEXT, "choices": {"text": [...], "label": [...]}, "answerKey": LABEL}, and AI2's own
//   {"question": {"stem": TEXT, "choices": [{"text": TEXT, "label": LABEL}, ...]}, "answerKey": LABEL}       ARC
//   {"text": TEXT}                                                          LAMBADA: the last word is the answer
// HellaSwag's endings and ARC's answers follow after a space; ARC's question becomes "Question: TEXT\nAnswer:".
// Throws Error, naming the file, the line and what is wrong there.
std::vector<ChoiceItem> read_choice_items(const std::filesystem::path& path);

// A separator, the context and a choice as tokens, of which the choice's are scored: those from where the tokens of the
// context with and without it differ. At most window + 1 tokens: the context loses its first ones.
// Throws Error if the choice alone has more.
ScoredTokens tokens_of(const ChoiceItem& item, std::size_t choice, const Tokenizer& tokenizer, std::int64_t window);

// The characters of a choice, without a space before it: what its score is divided by.
std::int64_t length_of(const std::string& choice);

}  // namespace mudelta
