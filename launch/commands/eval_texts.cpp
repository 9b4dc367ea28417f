#include "launch/commands/eval_texts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "launch/commands/choice_task.h"
#include "launch/commands/text_options.h"
#include "launch/job/agreement.h"

namespace mudelta {
namespace {

struct Document {
  ScoredTokens tokens;
  std::int64_t num_bytes = 0;
};

std::vector<Document> read_documents(const TextOptions& options, const Tokenizer& tokenizer, BadLines& bad) {
  std::vector<std::string> texts;
  const auto add = [&](std::string_view piece, bool starts_document) {
    if (starts_document) texts.emplace_back();
    texts.back() += piece;
  };
  TextInputs(options).for_each_document(
      add, [](std::int64_t) {}, &bad);
  require(!texts.empty(), "the input holds no document");
  std::vector<Document> documents;
  for (const std::string& text : texts) {
    Document& document = documents.emplace_back();
    document.num_bytes = std::ssize(text);
    document.tokens.tokens = {tokenizer.separator()};
    tokenizer.encode(text, document.tokens.tokens);
  }
  return documents;
}

std::vector<Score> score_all(const TextScorer& scorer, const std::vector<ScoredTokens>& texts, bool wants_greedy) {
  ScoringOptions options = scorer.options;
  options.wants_greedy = wants_greedy;
  if (wants_greedy) options.batch = 1;  // logits are many
  std::vector<Score> scores = score(scorer.loaded.model(), texts, options, scorer.mesh, scorer.loaded.stream());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!std::isfinite(scores[i].logprob)) {
      throw SharedError(fmt::format("{}: the log-probability of text {} is {}, expected a finite number",
                                    scorer.loaded.folder().string(), i, scores[i].logprob));
    }
  }
  return scores;
}

void write_details(const TextScorer& scorer, const std::string& file, const std::string& lines) {
  run_or_fail_together(scorer.mesh.world(), [&] {
    if (scorer.mesh.world().rank() == 0 && !file.empty()) write_file_atomically(file, lines);
  });
}

double bits_per_byte(double nats, std::int64_t bytes) { return nats / std::numbers::ln2 / static_cast<double>(bytes); }

// Of a share of n draws: its standard deviation.
double uncertainty(double share, std::size_t count) {
  return count > 1 ? std::sqrt(share * (1 - share) / static_cast<double>(count - 1)) : 0;
}

void print_share(std::string_view name, std::size_t right, std::size_t count) {
  const double share = static_cast<double>(right) / static_cast<double>(count);
  fmt::print("{:<15}{:.4f} +- {:.4f} ({} of {})\n", name, share, uncertainty(share, count), right, count);
}

// What the choices of an item scored.
struct ItemScores {
  std::vector<double> sums, means;  // by character
  bool is_greedy = false;           // of a lone choice
};

std::size_t best(const std::vector<double>& scores) {
  return static_cast<std::size_t>(std::ranges::max_element(scores) - scores.begin());
}

}  // namespace

void eval_texts(const TextScorer& scorer, const TextOptions& text, const std::string& details) {
  std::vector<Document> documents;
  BadLines bad;
  run_or_fail_together(scorer.mesh.world(), [&] { documents = read_documents(text, scorer.tokenizer, bad); });
  std::vector<ScoredTokens> texts;
  for (Document& document : documents) texts.push_back(std::move(document.tokens));
  const std::vector<Score> scores = score_all(scorer, texts, /*wants_greedy=*/false);

  std::string lines;
  double nats = 0;
  std::int64_t tokens = 0, bytes = 0;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const double of_document = -scores[i].logprob;
    const std::int64_t targets = std::ssize(texts[i].tokens) - 1;
    nats += of_document;
    tokens += targets;
    bytes += documents[i].num_bytes;
    lines +=
        fmt::format("{{\"document\":{},\"bytes\":{},\"tokens\":{},\"nats\":{},\"bits_per_byte\":{}}}\n", i,
                    documents[i].num_bytes, targets, of_document, bits_per_byte(of_document, documents[i].num_bytes));
  }
  write_details(scorer, details, lines);
  if (scorer.mesh.world().rank() != 0) return;
  print_bad_lines(bad);
  const double loss = nats / static_cast<double>(tokens);
  fmt::print("checkpoint     {}\n", scorer.loaded.folder().string());
  fmt::print("documents      {} ({} bytes, {} tokens; {} tokens are seen at a time)\n", documents.size(), bytes, tokens,
             scorer.options.window);
  fmt::print("nats           {:.6f}\n", nats);
  fmt::print("loss           {:.6f} nats per token\n", loss);
  fmt::print("perplexity     {:.4f}\n", std::exp(loss));
  fmt::print("bits per byte  {:.6f}\n", bits_per_byte(nats, bytes));
}

void eval_task(const TextScorer& scorer, const std::string& file, const std::string& details) {
  std::vector<ChoiceItem> items;
  std::vector<ScoredTokens> texts;
  run_or_fail_together(scorer.mesh.world(), [&] {
    items = read_choice_items(file);
    for (const ChoiceItem& item : items) {
      for (std::size_t i = 0; i < item.choices.size(); ++i) {
        texts.push_back(tokens_of(item, i, scorer.tokenizer, scorer.options.window));
      }
    }
  });
  const bool is_lone = std::ranges::all_of(items, [](const ChoiceItem& item) { return item.choices.size() == 1; });
  const std::vector<Score> scores = score_all(scorer, texts, is_lone);

  std::string lines;
  std::size_t right = 0, right_by_length = 0, greedy = 0, next = 0;
  double logprob = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    ItemScores of_item;
    for (const std::string& choice : items[i].choices) {
      const Score& score = scores[next++];
      of_item.sums.push_back(score.logprob);
      of_item.means.push_back(score.logprob / static_cast<double>(length_of(choice)));
      of_item.is_greedy = score.is_greedy;
    }
    const std::size_t answer = items[i].answer, sum = best(of_item.sums), mean = best(of_item.means);
    right += sum == answer ? 1 : 0;
    right_by_length += mean == answer ? 1 : 0;
    greedy += of_item.is_greedy ? 1 : 0;
    logprob += of_item.sums[answer];
    lines += fmt::format("{{\"item\":{},\"answer\":{},\"choice\":{},\"choice_by_length\":{},\"logprobs\":[{}]{}}}\n", i,
                         answer, sum, mean, fmt::join(of_item.sums, ","),
                         is_lone ? fmt::format(",\"greedy\":{}", of_item.is_greedy) : "");
  }
  write_details(scorer, details, lines);
  if (scorer.mesh.world().rank() != 0) return;
  fmt::print("checkpoint     {}\n", scorer.loaded.folder().string());
  fmt::print("items          {} in {}\n", items.size(), file);
  if (is_lone) {
    print_share("accuracy", greedy, items.size());
  } else {
    print_share("accuracy", right, items.size());
    print_share("by length", right_by_length, items.size());
  }
  fmt::print("answers        {:.6f} nats each\n", -logprob / static_cast<double>(items.size()));
}

}  // namespace mudelta
