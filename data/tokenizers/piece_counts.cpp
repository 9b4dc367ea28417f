#include <omp.h>

#include <exception>
#include <utility>

#include "data/tokenizers/bpe_trainer.h"
#include "data/tokenizers/regex.h"
#include "data/tokenizers/training_pattern.h"
#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

constexpr std::size_t kBlockBytes = 1 << 20;
constexpr std::size_t kBytesAtATime = 64 << 20;
constexpr std::string_view kSpaces = " \t\n\v\f\r\xc2\xe1\xe2\xe3";  // first bytes of white space

// Where to cut `text` so that no piece is cut: before the last line that does not begin with white space. Its size if
// there is none.
std::size_t end_of_whole_lines(std::string_view text) {
  for (std::size_t at = text.rfind('\n'); at != text.npos && at > 0; at = text.rfind('\n', at - 1)) {
    if (at + 1 < text.size() && kSpaces.find(text[at + 1]) == kSpaces.npos) return at + 1;
  }
  return text.size();
}

class Counter {
 public:
  Counter() : counts_(static_cast<std::size_t>(omp_get_max_threads())) {
    for (std::size_t i = 0; i < counts_.size(); ++i) patterns_.emplace_back(kTrainingPattern);
  }

  void add(std::string block) {
    num_bytes_ += block.size();
    blocks_.push_back(std::move(block));
    if (num_bytes_ >= kBytesAtATime) count_blocks();
  }

  PieceCounts finish() {
    count_blocks();
    PieceCounts all;
    for (PieceCounts& counts : counts_) {
      for (const auto& [piece, count] : counts) all[piece] += count;
      counts.clear();
    }
    return all;
  }

 private:
  void count_blocks() {
    std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic)
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const auto thread = static_cast<std::size_t>(omp_get_thread_num());
      try {
        count(blocks_[i], patterns_[thread], counts_[thread]);
      } catch (...) {
#pragma omp critical
        failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
    blocks_.clear();
    num_bytes_ = 0;
  }

  static void count(std::string_view text, const Regex& pattern, PieceCounts& counts) {
    split_by_validity(text, [&](std::string_view part, bool is_valid) {
      if (!is_valid) return;
      pattern.split(part, [&](std::string_view piece, bool /*is_match*/) {
        const auto found = counts.find(piece);
        if (found == counts.end()) {
          counts.emplace(piece, 1);
        } else {
          ++found->second;
        }
      });
    });
  }

  std::vector<std::string> blocks_;
  std::size_t num_bytes_ = 0;        // of the blocks
  std::vector<PieceCounts> counts_;  // of each thread
  std::vector<Regex> patterns_;      // of each thread
};

}  // namespace

PieceCounts count_pieces(const TextInputs& inputs, const std::function<void(std::int64_t num_bytes)>& progress,
                         BadLines* bad) {
  Counter counter;
  std::int64_t num_bytes = 0;
  std::string text;
  const auto add_piece = [&](std::string_view piece, bool starts_document) {
    if (starts_document) counter.add(std::exchange(text, {}));
    text += piece;
    if (text.size() < kBlockBytes) return;
    const std::size_t end = end_of_whole_lines(text);
    std::string rest = text.substr(end);
    text.resize(end);
    counter.add(std::exchange(text, std::move(rest)));
  };
  const auto add_bytes = [&](std::int64_t more) {
    num_bytes += more;
    if (progress) progress(num_bytes);
  };
  inputs.for_each_document(add_piece, add_bytes, bad);
  counter.add(std::move(text));
  return counter.finish();
}

}  // namespace mudelta
