#pragma once

#include <string>

#include "data/text/text_inputs.h"
#include "data/tokenizers/tokenizer.h"
#include "dist/mesh.h"
#include "launch/train/loaded_model.h"
#include "launch/train/scoring.h"

namespace mudelta {

// What a job scores texts with: the same on every rank.
struct TextScorer {
  const LoadedModel& loaded;
  const Tokenizer& tokenizer;
  ScoringOptions options;
  const Mesh& mesh;
};

// Loss and bits per byte of each document and of all of them together. Rank 0 prints the sums, and writes a JSON object
// a line for each document to `details`, unless that is empty. Collective.
void eval_texts(const TextScorer& scorer, const TextOptions& text, const std::string& details);

// How often the right choice has the highest probability, as a sum and by its length (launch/commands/choice_task.h);
// of items with one choice, how often the model would have given it, and its loss. Likewise.
void eval_task(const TextScorer& scorer, const std::string& file, const std::string& details);

}  // namespace mudelta
