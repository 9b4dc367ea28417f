#include "data/tokenizers/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>
#include <tuple>
#include <utility>

#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

constexpr std::size_t kFew = 48;  // symbols that are merged by looking at all of them again and again

}  // namespace

Bpe::Bpe(TokenIds tokens, PairTable merges, const Options& options)
    : tokens_(std::move(tokens)), merges_(std::move(merges)), options_(options) {
  const auto id_of = [&](std::string_view text) {
    const auto found = tokens_.find(text);
    return found == tokens_.end() ? -1 : found->second;
  };
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(static_cast<unsigned char>(byte));
    byte_tokens_[byte] = id_of({&c, 1});
    fallback_tokens_[byte] = id_of(fmt::format("<0x{:02X}>", byte));
  }
}

void Bpe::encode(std::string_view piece, std::vector<std::int32_t>& tokens) const {
  if (const auto known = cache_.find(piece)) {
    tokens.insert(tokens.end(), known->begin(), known->end());
    return;
  }
  const auto whole = options_.whole_pieces ? tokens_.find(piece) : tokens_.end();
  if (whole != tokens_.end()) {
    symbols_.assign(1, whole->second);
  } else {
    start(piece);
    symbols_.size() <= kFew ? merge_few() : merge_many();
  }
  cache_.keep(piece, symbols_);
  tokens.insert(tokens.end(), symbols_.begin(), symbols_.end());
}

void Bpe::start(std::string_view piece) const {
  symbols_.clear();
  bool unknown = false;  // one is due
  const auto add_unknown = [&] {
    if (std::exchange(unknown, false)) symbols_.push_back(options_.unknown);
  };
  for (std::size_t i = 0; i < piece.size();) {
    const bool by_bytes = options_.units == Units::kBytes;
    const std::string_view unit = piece.substr(i, by_bytes ? 1 : utf8_length(piece[i]));
    i += unit.size();
    std::int32_t token = -1;
    if (unit.size() == 1) {
      token = byte_tokens_[static_cast<unsigned char>(unit[0])];
    } else if (const auto found = tokens_.find(unit); found != tokens_.end()) {
      token = found->second;
    }
    if (token >= 0) {
      add_unknown();
      symbols_.push_back(token);
    } else if (!(options_.byte_fallback && append_bytes(unit)) && options_.unknown >= 0) {
      if (!options_.fuse_unknown) add_unknown();
      unknown = true;
    }
  }
  add_unknown();
}

bool Bpe::append_bytes(std::string_view character) const {
  const auto token_of = [&](char c) { return fallback_tokens_[static_cast<unsigned char>(c)]; };
  if (!std::ranges::all_of(character, [&](char c) { return token_of(c) >= 0; })) return false;
  for (const char c : character) symbols_.push_back(token_of(c));
  return true;
}

void Bpe::merge_few() const {
  std::array<Merge, kFew> merges;  // of each symbol with the one behind it
  const auto look_up = [&](std::size_t i) {
    merges[i] = i + 1 < symbols_.size() ? merges_.find(symbols_[i], symbols_[i + 1]) : Merge();
  };
  for (std::size_t i = 0; i < symbols_.size(); ++i) look_up(i);
  while (symbols_.size() > 1) {
    const auto end = merges.begin() + std::ssize(symbols_);
    const auto best = std::ranges::min_element(merges.begin(), end, {}, &Merge::rank);
    if (best->rank == Merge::kNone) break;
    const auto i = static_cast<std::size_t>(best - merges.begin());
    symbols_[i] = best->token;
    symbols_.erase(symbols_.begin() + (best - merges.begin()) + 1);
    std::copy(best + 2, end, best + 1);
    look_up(i);
    if (i > 0) look_up(i - 1);
  }
}

void Bpe::merge_many() const {
  constexpr std::int32_t kGone = -1;
  struct Candidate {
    std::int32_t rank;
    std::size_t left, right;  // places of its symbols
    std::int32_t left_symbol, right_symbol, token;

    bool operator>(const Candidate& other) const { return std::tie(rank, left) > std::tie(other.rank, other.left); }
  };
  const std::size_t count = symbols_.size();
  std::vector<std::size_t> next(count), previous(count);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto look_up = [&](std::size_t left, std::size_t right) {
    const Merge merge = merges_.find(symbols_[left], symbols_[right]);
    if (merge.rank == Merge::kNone) return;
    candidates.push({merge.rank, left, right, symbols_[left], symbols_[right], merge.token});
  };
  for (std::size_t i = 0; i < count; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;  // of the first: none, as count is
  }
  for (std::size_t i = 0; i + 1 < count; ++i) look_up(i, i + 1);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    if (symbols_[best.left] != best.left_symbol || symbols_[best.right] != best.right_symbol ||
        next[best.left] != best.right) {
      continue;
    }
    symbols_[best.left] = best.token;
    symbols_[best.right] = kGone;
    next[best.left] = next[best.right];
    if (next[best.left] < count) {
      previous[next[best.left]] = best.left;
      look_up(best.left, next[best.left]);
    }
    if (best.left > 0) look_up(previous[best.left], best.left);
  }
  std::erase(symbols_, kGone);
}

}  // namespace mudelta
