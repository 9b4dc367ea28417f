#include "data/tokenizers/sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/tokenizers/bpe.h"
#include "data/tokenizers/prefix_tree.h"
#include "data/tokenizers/sentencepiece_normalizer.h"
#include "data/tokenizers/separator.h"
#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

using Piece = SentencePieceFile::Piece;

constexpr std::int32_t kUnknown = -1;  // in place of the id of a text that is no piece

struct Cut {
  std::string_view text;
  std::int32_t piece;  // or kUnknown
};

std::size_t character_length(std::string_view text) { return std::min(utf8_length(text[0]), text.size()); }

// Cuts a normalized text into pieces.
class Cutter {
 public:
  virtual ~Cutter() = default;
  virtual std::vector<Cut> cut(std::string_view text) const = 0;
};

// The pieces whose scores have the largest sum (Kudo, "Subword regularization", ACL 2018), by Viterbi's algorithm. Sums
// are rounded as the library (0.2.3) rounds them: in a long text that decides between pieces.
class UnigramCutter : public Cutter {
 public:
  explicit UnigramCutter(const SentencePieceFile& file) {
    constexpr float kUnknownPenalty = 10;
    float least = std::numeric_limits<float>::max(), largest = std::numeric_limits<float>::lowest();
    for (const Piece& piece : file.pieces()) {
      if (piece.type() != Piece::NORMAL) continue;
      least = std::min(least, piece.score());
      largest = std::max(largest, piece.score());
    }
    unknown_score_ = least - kUnknownPenalty;
    scores_.resize(static_cast<std::size_t>(file.pieces_size()));
    for (int i = 0; i < file.pieces_size(); ++i) {
      const Piece& piece = file.pieces(i);
      if (piece.type() != Piece::NORMAL && piece.type() != Piece::USER_DEFINED) continue;
      pieces_.insert(piece.piece(), i);
      const auto length = static_cast<float>(piece.piece().size());
      scores_[static_cast<std::size_t>(i)] =
          piece.type() == Piece::USER_DEFINED ? static_cast<float>(length * largest - 0.1) : piece.score();
    }
  }

  std::vector<Cut> cut(std::string_view text) const override {
    constexpr float kLeastScore = -100'000;  // below it, scores are counted from here on again
    constexpr std::size_t kNowhere = std::numeric_limits<std::size_t>::max();
    struct End {  // of a piece, and the best way there
      std::int32_t piece = kUnknown;
      float score = 0;
      std::size_t begin = kNowhere;
    };
    std::vector<End> ends(text.size() + 1);
    std::size_t furthest = 0;  // end that was reached
    for (std::size_t begin = 0; begin < text.size();) {
      if (ends[begin].score < kLeastScore) {
        const float score = ends[begin].score;
        for (std::size_t i = begin; i <= furthest; ++i) ends[i].score -= score;
      }
      const float so_far = ends[begin].score;
      const std::size_t character = character_length(text.substr(begin));
      const auto reach = [&](std::size_t length, std::int32_t piece, float score) {
        furthest = std::max(furthest, begin + length);
        End& end = ends[begin + length];
        if (end.begin == kNowhere || score > end.score) end = {piece, score, begin};
      };
      bool has_single = false;
      pieces_.visit_prefixes(text.substr(begin), [&](std::size_t length, std::int32_t piece) {
        reach(length, piece, scores_[static_cast<std::size_t>(piece)] + so_far);
        has_single |= length == character;
      });
      if (!has_single) reach(character, kUnknown, unknown_score_ + so_far);
      begin += character;
    }
    std::vector<Cut> cuts;
    for (std::size_t end = text.size(); end > 0; end = ends[end].begin) {
      cuts.push_back({text.substr(ends[end].begin, end - ends[end].begin), ends[end].piece});
    }
    std::ranges::reverse(cuts);
    return cuts;
  }

 private:
  PrefixTree pieces_;
  std::vector<float> scores_;  // by piece
  float unknown_score_;
};

// Neighbours that are a piece together are merged, that of the largest score first.
class BpeCutter : public Cutter {
 public:
  BpeCutter(const SentencePieceFile& file, const PrefixTree& fixed) : file_(file), fixed_(fixed) {
    for (int i = 0; i < file.pieces_size(); ++i) {
      const Piece& piece = file.pieces(i);
      const bool is_found = piece.type() == Piece::NORMAL || piece.type() == Piece::USER_DEFINED || is_unused(piece);
      if (is_found) pieces_.emplace(piece.piece(), i);
    }
  }

  std::vector<Cut> cut(std::string_view text) const override {
    std::vector<Symbol> symbols = start(text);
    std::priority_queue<Candidate> candidates;
    std::unordered_map<std::string_view, std::size_t>
        unused;  // pieces that are none in the end: bytes of their left half
    const auto look_up = [&](std::size_t left, std::size_t right) {
      if (symbols[left].is_fixed || symbols[right].is_fixed) return;
      const std::string_view whole = {symbols[left].text.data(),
                                      symbols[left].text.size() + symbols[right].text.size()};
      const auto found = pieces_.find(whole);
      if (found == pieces_.end()) return;
      const Piece& piece = file_.pieces(found->second);
      candidates.push({piece.score(), left, right, whole.size()});
      if (is_unused(piece)) unused[whole] = symbols[left].text.size();
    };
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) look_up(i, i + 1);
    while (!candidates.empty()) {
      const Candidate best = candidates.top();
      candidates.pop();
      Symbol &left = symbols[best.left], &right = symbols[best.right];
      if (left.text.empty() || right.text.empty() || left.text.size() + right.text.size() != best.num_bytes) continue;
      left.text = {left.text.data(), best.num_bytes};
      right.text = {};
      left.next = right.next;
      if (left.next < symbols.size()) {
        symbols[left.next].previous = best.left;
        look_up(best.left, left.next);
      }
      if (best.left > 0) look_up(left.previous, best.left);
    }
    std::vector<Cut> cuts;
    for (const Symbol& symbol : symbols) append(symbol.text, unused, cuts);
    return cuts;
  }

 private:
  struct Symbol {
    std::string_view text;  // empty: merged into another
    bool is_fixed;
    std::size_t previous, next;
  };
  struct Candidate {
    float score;
    std::size_t left, right, num_bytes;

    bool operator<(const Candidate& other) const {
      return score < other.score || (score == other.score && left > other.left);
    }
  };

  static bool is_unused(const Piece& piece) { return piece.type() == Piece::UNUSED; }

  std::vector<Symbol> start(std::string_view text) const {
    std::vector<Symbol> symbols;
    while (!text.empty()) {
      const std::size_t fixed = fixed_.longest_prefix(text).length, length = fixed > 0 ? fixed : character_length(text);
      symbols.push_back({text.substr(0, length), fixed > 0, symbols.size() - 1, symbols.size() + 1});
      text.remove_prefix(length);
    }
    return symbols;
  }

  void append(std::string_view text, const std::unordered_map<std::string_view, std::size_t>& unused,
              std::vector<Cut>& cuts) const {
    if (text.empty()) return;
    const auto piece = pieces_.find(text);
    const auto halves = unused.find(text);
    if (piece != pieces_.end() && is_unused(file_.pieces(piece->second)) && halves != unused.end()) {
      append(text.substr(0, halves->second), unused, cuts);
      append(text.substr(halves->second), unused, cuts);
    } else {
      cuts.push_back({text, piece == pieces_.end() ? kUnknown : piece->second});
    }
  }

  const SentencePieceFile& file_;
  const PrefixTree& fixed_;
  std::unordered_map<std::string_view, std::int32_t> pieces_;
};

SentencePieceFile parse(std::string_view model) {
  SentencePieceFile file;
  require(file.ParseFromArray(model.data(), static_cast<int>(model.size())) && file.pieces_size() > 0,
          "it is no SentencePiece model, or is damaged");
  const SentencePieceFile::Trainer& trainer = file.trainer_spec();
  const bool is_known = trainer.model_type() == SentencePieceFile::Trainer::UNIGRAM ||
                        trainer.model_type() == SentencePieceFile::Trainer::BPE;
  require(is_known, "trainer_spec.model_type is {}, expected UNIGRAM or BPE",
          SentencePieceFile::Trainer::ModelType_Name(trainer.model_type()));
  require(!trainer.treat_whitespace_as_suffix(),
          "trainer_spec.treat_whitespace_as_suffix is true: this is not supported");
  require(file.denormalizer_spec().precompiled_charsmap().empty(),
          "denormalizer_spec.precompiled_charsmap is there: this is not supported");
  for (int i = 0; i < file.pieces_size(); ++i) require(!file.pieces(i).piece().empty(), "pieces[{}] is empty", i);
  return file;
}

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(std::string_view model, std::string_view separator)
      : file_(parse(model)), normalize_(file_.normalizer_spec(), fixed_) {
    byte_pieces_.fill(kUnknown);
    for (int i = 0; i < file_.pieces_size(); ++i) read(i, file_.pieces(i));
    require(unknown_ != kUnknown, "none of the pieces is of the type UNKNOWN");
    if (file_.trainer_spec().byte_fallback()) {
      for (std::size_t byte = 0; byte < 256; ++byte) {
        require(byte_pieces_[byte] != kUnknown, "trainer_spec.byte_fallback is true, but there is no piece <0x{:02X}>",
                byte);
      }
    }
    if (file_.trainer_spec().model_type() == SentencePieceFile::Trainer::BPE) {
      cutter_ = std::make_unique<BpeCutter>(file_, fixed_);
    } else {
      cutter_ = std::make_unique<UnigramCutter>(file_);
    }
    separator_ = find_separator(separator, [&](std::string_view name) -> std::optional<std::int32_t> {
      for (int i = 0; i < file_.pieces_size(); ++i) {
        if (file_.pieces(i).piece() == name) return i;
      }
      return std::nullopt;
    });
    texts_[static_cast<std::size_t>(separator_)].clear();
  }

  std::int32_t vocab_size() const override { return file_.pieces_size(); }
  std::int32_t separator() const override { return separator_; }

  using Tokenizer::encode;
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override {
    const std::string normalized = normalize_(text);
    bool follows_unknown = false;
    for (const auto& [part, piece] : cutter_->cut(normalized)) {
      const bool is_unknown = piece == kUnknown;
      if (!is_unknown) {
        tokens.push_back(piece);
      } else if (file_.trainer_spec().byte_fallback()) {
        for (const char c : part) tokens.push_back(byte_pieces_[static_cast<unsigned char>(c)]);
      } else if (!follows_unknown) {
        tokens.push_back(unknown_);
      }
      follows_unknown = is_unknown;
    }
  }

  std::string_view text_of(std::int32_t token) const override {
    check_id(token);
    return texts_[static_cast<std::size_t>(token)];
  }

  std::string spelling_of(std::int32_t token) const override {
    check_id(token);
    return file_.pieces(token).piece();
  }

  std::string decode(std::span<const std::int32_t> tokens) const override {
    const SentencePieceFile::Normalizer& normalizer = file_.normalizer_spec();
    std::string text;
    bool at_start = true;
    for (const std::int32_t token : tokens) {
      std::string_view part = text_of(token);
      if (at_start && file_.pieces(token).type() != Piece::BYTE && token != unknown_) {
        if (normalizer.remove_extra_whitespaces()) {
          part.remove_prefix(std::min(part.find_first_not_of(' '), part.size()));
        } else if (normalizer.add_dummy_prefix() && part.starts_with(' ')) {
          part.remove_prefix(1);
          at_start = false;
        }
      }
      at_start &= part.empty();
      text += part;
    }
    return text;
  }

 private:
  void read(std::int32_t id, const Piece& piece) {
    std::string& text = texts_.emplace_back();
    switch (piece.type()) {
      case Piece::CONTROL: break;
      case Piece::UNKNOWN:
        unknown_ = id;
        text = file_.trainer_spec().unk_surface();
        break;
      case Piece::BYTE: {
        unsigned byte = 256;
        const bool is_byte = std::sscanf(piece.piece().c_str(), "<0x%2X>", &byte) == 1 && byte < 256;
        require(is_byte, "pieces[{}] is the byte {}, expected a form such as <0x0A>", id, piece.piece());
        byte_pieces_[byte] = id;
        text.assign(1, static_cast<char>(static_cast<unsigned char>(byte)));
        break;
      }
      default:
        if (piece.type() == Piece::USER_DEFINED) fixed_.insert(piece.piece(), id);
        for (std::string_view rest = piece.piece(); !rest.empty();) {
          const bool is_space = rest.starts_with(kSpaceSign);
          text.push_back(is_space ? ' ' : rest[0]);
          rest.remove_prefix(is_space ? kSpaceSign.size() : 1);
        }
    }
  }

  SentencePieceFile file_;
  PrefixTree fixed_;  // user-defined pieces, which nothing changes or cuts
  SentencePieceNormalizer normalize_;
  std::unique_ptr<Cutter> cutter_;
  std::vector<std::string> texts_;  // by id
  std::array<std::int32_t, 256> byte_pieces_;
  std::int32_t unknown_ = kUnknown, separator_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(std::string_view model, std::string_view separator) {
  return std::make_unique<SentencePieceTokenizer>(model, separator);
}

bool is_sentencepiece_model(std::string_view content) {
  SentencePieceFile file;
  return content.starts_with('\n') && file.ParseFromArray(content.data(), static_cast<int>(content.size())) &&
         file.pieces_size() > 0;
}

}  // namespace mudelta
