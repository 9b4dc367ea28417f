#pragma once

#include <string>

namespace mudelta {

// Half a megabyte of text, always the same, for who has no corpus: documents of sentences of made-up words. As in
// language, words are the rarer the longer, and a third of a document's words are of its own few, so that every part of
// a model has something to gain in its first steps. (In random letters there is next to nothing for the mixer.)
std::string made_up_text();

}  // namespace mudelta
