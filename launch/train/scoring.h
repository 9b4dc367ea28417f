#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dist/mesh.h"
#include "model/language_model.h"

namespace mudelta {

// Tokens [first, size) of a text are scored, given those before; first >= 1.
struct ScoredTokens {
  std::vector<std::int32_t> tokens;
  std::int64_t first = 1;
};

struct Score {
  double logprob = 0;     // sum of the tokens' natural logarithms of their probabilities
  bool is_greedy = true;  // each of them had the highest probability of all; if it was asked for
};

struct ScoringOptions {
  std::int64_t window = 0;    // tokens that the model sees at a time
  std::int64_t batch = 1;     // windows at a time on each data rank
  bool wants_greedy = false;  // keeps the logits of a batch in memory
};

// Scores texts, each by itself: in windows of so many inputs, one after another, of which a later one does not see
// those before it. Every token is scored once. The windows are shared out among the data ranks of `mesh`, whose context
// size is 1. An error on any rank is thrown on all. Collective; every rank gets the same scores, in the order of the
// texts.
std::vector<Score> score(const LanguageModel& model, std::span<const ScoredTokens> texts, const ScoringOptions& options,
                         const Mesh& mesh, Stream stream);

}  // namespace mudelta
