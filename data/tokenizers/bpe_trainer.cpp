#include "data/tokenizers/bpe_trainer.h"

#include <algorithm>
#include <queue>
#include <tuple>

#include "core/error.h"
#include "data/tokenizers/byte_level.h"
#include "data/tokenizers/json_object.h"
#include "data/tokenizers/training_pattern.h"

namespace mudelta {
namespace {

constexpr const char* kEndOfText = "<|endoftext|>";

struct Word {
  std::vector<std::int32_t> symbols;
  std::int64_t count;
};

using Pair = std::pair<std::int32_t, std::int32_t>;

struct PairHash {
  std::size_t operator()(const Pair& pair) const {
    return (static_cast<std::uint64_t>(pair.first) << 32 | static_cast<std::uint32_t>(pair.second)) *
           0x9e3779b97f4a7c15;
  }
};

struct PairEntry {
  std::int64_t count = 0;
  std::vector<std::size_t> words;  // that hold it, or held it; some twice
};

struct Candidate {
  std::int64_t count;
  Pair pair;

  bool operator<(const Candidate& other) const { return std::tie(count, other.pair) < std::tie(other.count, pair); }
};

class Trainer {
 public:
  explicit Trainer(const PieceCounts& pieces) {
    for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
    // In an order that does not depend on the hash table's.
    std::vector<std::pair<std::string_view, std::int64_t>> sorted(pieces.begin(), pieces.end());
    std::ranges::sort(sorted);
    for (const auto& [piece, count] : sorted) {
      Word& word = words_.emplace_back(Word{{}, count});
      for (const char c : piece) word.symbols.push_back(static_cast<unsigned char>(c));
      count_pairs(words_.size() - 1, count);
    }
    for (const auto& [pair, entry] : pairs_) candidates_.push({entry.count, pair});
  }

  std::int32_t num_tokens() const { return static_cast<std::int32_t>(tokens_.size()); }

  // Merges the best pair; false if none occurs twice.
  bool merge_best(ByteMerges& merges) {
    while (!candidates_.empty()) {
      const Candidate best = candidates_.top();
      candidates_.pop();
      PairEntry& entry = pairs_[best.pair];
      if (entry.count != best.count) {  // it has become rarer since
        if (entry.count > 0 && entry.count < best.count) candidates_.push({entry.count, best.pair});
        continue;
      }
      if (best.count < 2) return false;
      merges.emplace_back(tokens_[static_cast<std::size_t>(best.pair.first)],
                          tokens_[static_cast<std::size_t>(best.pair.second)]);
      merge(best.pair, std::move(entry.words));
      return true;
    }
    return false;
  }

 private:
  std::int32_t add(const std::string& token) {
    const auto [place, is_new] = ids_.emplace(token, num_tokens());
    if (is_new) tokens_.push_back(token);
    return place->second;
  }

  // `weight`: how much more often the pairs of the word are there now.
  void count_pairs(std::size_t index, std::int64_t weight) {
    const std::vector<std::int32_t>& symbols = words_[index].symbols;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      PairEntry& entry = pairs_[{symbols[i], symbols[i + 1]}];
      entry.count += weight;
      const bool is_listed = !entry.words.empty() && entry.words.back() == index;
      if (weight > 0 && !is_listed) entry.words.push_back(index);
    }
  }

  void merge(const Pair& pair, std::vector<std::size_t> where) {
    const std::int32_t merged =
        add(tokens_[static_cast<std::size_t>(pair.first)] + tokens_[static_cast<std::size_t>(pair.second)]);
    std::ranges::sort(where);
    where.erase(std::unique(where.begin(), where.end()), where.end());
    std::vector<Pair> grown;
    for (const std::size_t index : where) {
      Word& word = words_[index];
      if (!holds(word.symbols, pair)) continue;
      count_pairs(index, -word.count);
      replace(word.symbols, pair, merged);
      count_pairs(index, word.count);
      for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i) {
        if (word.symbols[i] == merged || word.symbols[i + 1] == merged) {
          grown.emplace_back(word.symbols[i], word.symbols[i + 1]);
        }
      }
    }
    std::ranges::sort(grown);
    grown.erase(std::unique(grown.begin(), grown.end()), grown.end());
    for (const Pair& one : grown) candidates_.push({pairs_[one].count, one});
  }

  static bool holds(const std::vector<std::int32_t>& symbols, const Pair& pair) {
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      if (symbols[i] == pair.first && symbols[i + 1] == pair.second) return true;
    }
    return false;
  }

  static void replace(std::vector<std::int32_t>& symbols, const Pair& pair, std::int32_t merged) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      const bool is_pair = i + 1 < symbols.size() && symbols[i] == pair.first && symbols[i + 1] == pair.second;
      symbols[kept++] = is_pair ? merged : symbols[i];
      if (is_pair) ++i;
    }
    symbols.resize(kept);
  }

  std::vector<Word> words_;
  std::vector<std::string> tokens_;
  TokenIds ids_;
  std::unordered_map<Pair, PairEntry, PairHash> pairs_;
  std::priority_queue<Candidate> candidates_;
};

}  // namespace

ByteMerges train_byte_merges(const PieceCounts& pieces, std::int32_t num_tokens,
                             const std::function<void(std::int32_t num_tokens)>& progress) {
  Trainer trainer(pieces);
  ByteMerges merges;
  while (trainer.num_tokens() < 256 + num_tokens) {
    require(trainer.merge_best(merges),
            "the text gives {} tokens besides single bytes, as no other pair occurs twice; expected {}",
            trainer.num_tokens() - 256, num_tokens);
    if (progress) progress(trainer.num_tokens() - 256);
  }
  return merges;
}

std::string byte_level_tokenizer_json(const ByteMerges& merges) {
  Json vocabulary = Json::object(), pairs = Json::array();
  for (int byte = 0; byte < 256; ++byte) vocabulary[spell_bytes(std::string(1, static_cast<char>(byte)))] = byte;
  for (const auto& [left, right] : merges) {
    const std::size_t next = vocabulary.size();
    vocabulary.emplace(spell_bytes(left + right), next);
    pairs.push_back({spell_bytes(left), spell_bytes(right)});
  }
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const Json split = {
      {"type", "Split"}, {"pattern", {{"Regex", kTrainingPattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  const Json end_of_text = {{"id", vocabulary.size()}, {"content", kEndOfText}, {"single_word", false},
                            {"lstrip", false},         {"rstrip", false},       {"normalized", false},
                            {"special", true}};
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", Json::array({end_of_text})},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level})}}},
                     {"post_processor", nullptr},
                     {"decoder", byte_level},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", false},
                       {"vocab", vocabulary},
                       {"merges", pairs}}}};
  return json.dump(1) + "\n";
}

}  // namespace mudelta
