#include "launch/train/scoring.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>

#include "launch/job/agreement.h"
#include "launch/train/batch_upload.h"

namespace mudelta {
namespace {

// Inputs [begin, end) of a text; their targets stand one further.
struct Window {
  std::size_t text;
  std::int64_t begin, end;
};

std::vector<Window> windows_of(std::span<const ScoredTokens> texts, std::int64_t length) {
  std::vector<Window> windows;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::int64_t inputs = std::ssize(texts[i].tokens) - 1;
    CHECK(texts[i].first >= 1);
    for (std::int64_t begin = 0; begin < inputs; begin += length) {
      const std::int64_t end = std::min(begin + length, inputs);
      if (end >= texts[i].first) windows.push_back({i, begin, end});  // it has a target that counts
    }
  }
  return windows;
}

Batch pack(std::span<const ScoredTokens> texts, std::span<const Window> windows) {
  std::vector<std::int32_t> tokens, targets, ends = {0};
  for (const auto& [text, begin, end] : windows) {
    const auto& all = texts[text].tokens;
    for (std::int64_t t = begin; t < end; ++t) {
      tokens.push_back(all[static_cast<std::size_t>(t)]);
      targets.push_back(all[static_cast<std::size_t>(t + 1)]);
    }
    ends.push_back(static_cast<std::int32_t>(tokens.size()));
  }
  const auto size = std::ssize(tokens);
  return {.tokens = Tensor::from(tokens, {size}),
          .targets = Tensor::from(targets, {size}),
          .cu_seqlens = Tensor::from(ends, {std::ssize(ends)})};
}

// Adds what a target of a row of logits says.
void add(std::span<const float> logits, std::int32_t target, Score& score) {
  const float highest = *std::ranges::max_element(logits), own = logits[static_cast<std::size_t>(target)];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  score.logprob += static_cast<double>(own) - highest - std::log(sum);
  score.is_greedy = score.is_greedy && own == highest;
}

}  // namespace

std::vector<Score> score(const LanguageModel& model, std::span<const ScoredTokens> texts, const ScoringOptions& options,
                         const Mesh& mesh, Stream stream) {
  CHECK(mesh.context().size() == 1 && options.window >= 1 && options.batch >= 1);
  const ProcessGroup& group = mesh.data();
  const std::vector<Window> windows = windows_of(texts, options.window);
  const auto count = std::ssize(windows);
  const std::int64_t begin = count * group.rank() / group.size(), end = count * (group.rank() + 1) / group.size();
  BatchUpload upload(stream.device(), model.config().vocab_size());
  std::vector<double> logprobs(texts.size()), misses(texts.size());
  const auto score_batch = [&](std::span<const Window> part, const Batch& batch, const Batch& input) {
    const PackedTokens packed{input.tokens, input.cu_seqlens, {}};
    const Tensor result = options.wants_greedy ? model.logits(packed, nullptr, stream).to(Device())
                                               : model.losses(packed, input.targets, stream).to(Device());
    const auto values = result.span<float>();
    const auto targets = batch.targets.span<std::int32_t>();
    const auto vocabulary = static_cast<std::size_t>(model.config().vocab_size());
    std::size_t t = 0;
    for (const Window& window : part) {
      Score of_window;
      for (std::int64_t i = window.begin; i < window.end; ++i, ++t) {
        if (i + 1 < texts[window.text].first) continue;
        if (options.wants_greedy) {
          add(values.subspan(t * vocabulary, vocabulary), targets[t], of_window);
        } else {
          of_window.logprob -= static_cast<double>(values[t]);
        }
      }
      logprobs[window.text] += of_window.logprob;
      if (!of_window.is_greedy) misses[window.text] = 1;
    }
  };
  const std::int64_t largest_share = (count + group.size() - 1) / group.size();
  for (std::int64_t done = 0; done < largest_share; done += options.batch) {
    const std::int64_t size = std::min(options.batch, end - begin - done);
    const auto part =
        size > 0 ? std::span(windows).subspan(static_cast<std::size_t>(begin + done), static_cast<std::size_t>(size))
                 : std::span<const Window>();
    // The ranks of a replica have the same windows, and communicate as they score them.
    Batch batch, input;
    run_or_fail_together(mesh.world(), [&] {
      if (part.empty()) return;
      batch = pack(texts, part);
      input = upload(batch);
      if (mesh.replica().size() == 1) score_batch(part, batch, input);
    });
    if (!part.empty() && mesh.replica().size() > 1) score_batch(part, batch, input);
  }
  logprobs = mesh.gradients().all_reduce(logprobs, ReduceOp::kSum);
  misses = mesh.gradients().all_reduce(misses, ReduceOp::kSum);
  std::vector<Score> scores;
  for (std::size_t i = 0; i < texts.size(); ++i) scores.push_back({logprobs[i], misses[i] == 0});
  return scores;
}

}  // namespace mudelta
