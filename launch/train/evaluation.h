#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "dist/mesh.h"
#include "model/language_model.h"

namespace mudelta {

struct Evaluation {
  double loss = 0;  // mean over target tokens, nats per token
  double bits_per_byte = 0;
  double perplexity = 0;
  std::int64_t tokens = 0;
  std::int64_t bytes = 0;                                     // of text that the target tokens stand for
  std::vector<std::pair<std::string, double>> source_losses;  // of a blend (launch/train/training_data.h)
};

struct EvaluationOptions {
  std::int64_t sequence_length = 0;
  std::int64_t micro_batch = 1;    // sequences at a time
  std::int64_t max_sequences = 0;  // 0: all
  bool reset_at_documents = true;
  bool same_passes = false;  // every rank must make as many passes of the model as the others (ZeRO stage 3)
  // Asked between micro-batches; the same answer on every rank. True ends the evaluation. May be empty.
  std::function<bool()> stop;
};

// Called with what a rank has just scored, of whole rows: targets and losses (in nats), and the number of the first
// target in the split's token stream.
using LossVisitor = std::function<void(std::int64_t first_target, std::span<const std::int32_t> targets,
                                       std::span<const float> losses)>;

// Loss of a model on the first sequences of a data set in file order, shared out among the data and context
// ranks of `mesh`, whose context size divides the sequence length.
// Nothing if options.stop ended it. An error on any rank is thrown on all (launch/job/agreement.h).
// Collective; every rank gets the same result. `visit` may be empty, and is with context ranks.
std::optional<Evaluation> evaluate(const LanguageModel& model, const Dataset& dataset, const EvaluationOptions& options,
                                   const Mesh& mesh, Stream stream, const LossVisitor& visit = {});

}  // namespace mudelta
