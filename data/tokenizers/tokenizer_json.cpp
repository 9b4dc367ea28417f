#include "data/tokenizers/tokenizer_json.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "core/files/json.h"
#include "data/tokenizers/added_tokens.h"
#include "data/tokenizers/bpe.h"
#include "data/tokenizers/byte_level.h"
#include "data/tokenizers/decoder.h"
#include "data/tokenizers/normalizers.h"
#include "data/tokenizers/post_processor.h"
#include "data/tokenizers/pre_tokenizers.h"
#include "data/tokenizers/separator.h"
#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

constexpr std::int32_t kMaxVocabSize = 1 << 24;

std::int32_t read_id(const Json& json, const std::string& where) {
  const auto id = JsonObject::convert<std::int64_t>(json, where);
  require(0 <= id && id < kMaxVocabSize, "{} is {}, expected an id in [0, {})", where, id, kMaxVocabSize);
  return static_cast<std::int32_t>(id);
}

// The model's tokens, by their spelling.
TokenIds read_vocabulary(const Json& json, const std::string& where) {
  require(json.is_object() && !json.empty(), "{} is {}, expected an object of tokens and ids", where, shown(json));
  TokenIds tokens;
  tokens.reserve(json.size());
  for (const auto& [spelling, id] : json.items()) tokens[spelling] = read_id(id, fmt::format("{}.{}", where, spelling));
  return tokens;
}

std::pair<std::string, std::string> read_pair(const Json& json, const std::string& where) {
  if (json.is_array()) {
    require(json.size() == 2, "{} is {}, expected two tokens", where, shown(json));
    return {JsonObject::convert<std::string>(json[0], where), JsonObject::convert<std::string>(json[1], where)};
  }
  const auto line = JsonObject::convert<std::string>(json, where);
  const std::size_t space = line.find(' ');
  require(space != line.npos && line.find(' ', space + 1) == line.npos, "{} is {}, expected two tokens and a space",
          where, shown(json));
  return {line.substr(0, space), line.substr(space + 1)};
}

PairTable read_merges(const Json& json, const std::string& where, const TokenIds& tokens) {
  require_array(json, where);
  PairTable merges(json.size());
  for (std::size_t rank = 0; rank < json.size(); ++rank) {
    const std::string place = element_of(where, rank);
    const auto id_of = [&](const std::string& token) {
      const auto found = tokens.find(token);
      require(found != tokens.end(), "{} is {}: the vocabulary has no token \"{}\"", place, shown(json[rank]), token);
      return found->second;
    };
    const auto [left, right] = read_pair(json[rank], place);
    merges.set(id_of(left), id_of(right), {static_cast<std::int32_t>(rank), id_of(left + right)});
  }
  return merges;
}

std::vector<AddedToken> read_added_tokens(const Json& json, const std::string& where) {
  std::vector<AddedToken> tokens;
  if (json.is_null()) return tokens;
  std::size_t index = 0;
  for (const Json& element : require_array(json, where)) {
    const JsonObject object(element, element_of(where, index++));
    AddedToken& token = tokens.emplace_back();
    token.id = read_id(object.field("id"), object.where("id"));
    token.text = object.get<std::string>("content");
    require(!token.text.empty(), "{} is empty", object.where("content"));
    token.is_special = object.get<bool>("special");
    token.is_normalized = object.get<bool>("normalized");
    token.is_word = object.get<bool>("single_word");
    token.takes_spaces_before = object.get<bool>("lstrip");
    token.takes_spaces_behind = object.get<bool>("rstrip");
    object.refuse_others();
  }
  return tokens;
}

// What a token is to those who read tokens.
struct Token {
  std::string spelling;  // empty: no token has the id
  std::string text;      // that it adds to a text
  bool is_special = false;
};

class JsonTokenizer : public Tokenizer {
 public:
  JsonTokenizer(const JsonObject& root, std::string_view separator)
      : normalizers_(read_normalizers(root.field("normalizer"), "normalizer")),
        pre_tokenizers_(read_pre_tokenizers(root.field("pre_tokenizer"), "pre_tokenizer")),
        decoder_(root.field("decoder"), "decoder") {
    require(decoder_.byte_level() == pre_tokenizers_.byte_level,
            "pre_tokenizer has {}, decoder has {}: expected both or none to be ByteLevel",
            pre_tokenizers_.byte_level ? "ByteLevel" : "no ByteLevel", decoder_.byte_level() ? "it" : "none");
    read_model(JsonObject(root.field("model"), "model"));
    add(read_added_tokens(root.field("added_tokens"), "added_tokens"));
    check_post_processor(root.field("post_processor"), "post_processor");
    for (const char* name : {"truncation", "padding"}) {
      require(root.field(name).is_null(), "{} is {}: this is not supported, expected null", name,
              shown(root.field(name)));
    }
    root.get<std::string>("version", "");
    root.refuse_others();
    separator_ = find_separator(separator, [&](std::string_view name) -> std::optional<std::int32_t> {
      const auto found = ids_.find(name);
      return found == ids_.end() ? std::nullopt : std::optional(found->second);
    });
    token(separator_).text.clear();
  }

  std::int32_t vocab_size() const override { return static_cast<std::int32_t>(tokens_.size()); }
  std::int32_t separator() const override { return separator_; }

  using Tokenizer::encode;
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override {
    if (valid_utf8_prefix(text) == text.size()) return encode_valid(text, true, tokens);
    const char* const start = text.data();
    std::string repaired;
    split_by_validity(text, [&](std::string_view part, bool is_valid) {
      if (pre_tokenizers_.byte_level) {
        is_valid ? encode_valid(part, part.data() == start, tokens) : bpe_->encode(part, tokens);
      } else if (is_valid) {
        repaired += part;
      } else {
        for (std::size_t i = 0; i < part.size(); ++i) repaired += kReplacementCharacter;
      }
    });
    if (!repaired.empty()) encode_valid(repaired, true, tokens);
  }

  std::string_view text_of(std::int32_t id) const override {
    check_id(id);
    return tokens_[static_cast<std::size_t>(id)].text;
  }

  std::string spelling_of(std::int32_t id) const override {
    check_id(id);
    return tokens_[static_cast<std::size_t>(id)].spelling;
  }

  std::string decode(std::span<const std::int32_t> ids) const override {
    std::string text;
    bool is_first = true;
    for (const std::int32_t id : ids) {
      const std::string_view part = text_of(id);
      if (part.empty()) continue;
      const bool is_spelt = std::exchange(is_first, false) && !decoder_.byte_level();
      text += is_spelt ? decoder_.first_text_of(spelling_of(id)) : std::string(part);
    }
    decoder_.trim(text);
    return text;
  }

  std::int64_t num_bytes(std::int32_t id) const override {
    const std::string_view text = text_of(id);
    const Token& token = tokens_[static_cast<std::size_t>(id)];
    return token.is_special && id != separator_ ? std::ssize(token.spelling) : std::ssize(text);
  }

 private:
  Token& token(std::int32_t id) {
    if (tokens_.size() <= static_cast<std::size_t>(id)) tokens_.resize(static_cast<std::size_t>(id) + 1);
    return tokens_[static_cast<std::size_t>(id)];
  }

  void read_model(const JsonObject& model) {
    const auto type = model.get<std::string>("type", model.field("merges").is_null() ? "" : "BPE");
    require(type == "BPE", "model.type is \"{}\": this model is not supported (BPE is)", type);
    ids_ = read_vocabulary(model.field("vocab"), "model.vocab");
    for (const auto& [spelling, id] : ids_) {
      Token& entry = token(id);
      require(entry.spelling.empty(), "model.vocab has the id {} of \"{}\" and of \"{}\"", id, entry.spelling,
              spelling);
      entry = {spelling, decoder_.text_of(spelling)};
    }
    Bpe::Options options{.units = pre_tokenizers_.byte_level ? Bpe::Units::kBytes : Bpe::Units::kCharacters,
                         .whole_pieces = model.get<bool>("ignore_merges", false),
                         .byte_fallback = model.get<bool>("byte_fallback", false),
                         .fuse_unknown = model.get<bool>("fuse_unk", false)};
    require(!options.byte_fallback || !pre_tokenizers_.byte_level,
            "model.byte_fallback is true with a ByteLevel pre_tokenizer: expected one of them");
    if (const auto unknown = model.get<std::string>("unk_token", ""); !unknown.empty()) {
      const auto found = ids_.find(unknown);
      require(found != ids_.end(), "model.unk_token is \"{}\": the vocabulary has no such token", unknown);
      options.unknown = found->second;
    }
    const Json& dropout = model.field("dropout");
    require(dropout.is_null() || dropout == 0, "model.dropout is {}, expected null", shown(dropout));
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      require(model.get<std::string>(name, "").empty(), "model.{} is {}: this is not supported, expected null", name,
              shown(model.field(name)));
    }
    PairTable merges = read_merges(model.field("merges"), "model.merges", ids_);
    model.refuse_others();
    bpe_.emplace(pre_tokenizers_.byte_level ? unspelt(ids_) : ids_, std::move(merges), options);
  }

  // The tokens by their bytes.
  static TokenIds unspelt(const TokenIds& spelt) {
    TokenIds tokens;
    tokens.reserve(spelt.size());
    for (const auto& [spelling, id] : spelt) {
      if (auto bytes = spelt_bytes(spelling)) tokens.emplace(std::move(*bytes), id);
    }
    return tokens;
  }

  void add(std::vector<AddedToken> added) {
    for (const AddedToken& one : added) {
      const std::int32_t id = ids_.emplace(one.text, one.id).first->second;
      require(id == one.id, "added_tokens has \"{}\" with the id {}, which has the id {}", one.text, one.id, id);
      Token& entry = token(one.id);
      require(entry.spelling.empty() || entry.spelling == one.text, "added_tokens has the id {} of \"{}\" for \"{}\"",
              one.id, entry.spelling, one.text);
      entry = {one.text, one.is_special ? "" : one.text, one.is_special};
    }
    const auto raw = std::ranges::stable_partition(added, [](const AddedToken& one) { return !one.is_normalized; });
    std::vector<AddedToken> normalized(raw.begin(), raw.end());
    added.erase(raw.begin(), raw.end());
    for (AddedToken& one : normalized) {
      normalize(one.text);
      if (!one.is_special) token(one.id).text = pre_tokenizers_.byte_level ? one.text : decoder_.text_of(one.text);
    }
    std::erase_if(normalized, [](const AddedToken& one) { return one.text.empty(); });
    added_.emplace(std::move(added));
    added_normalized_.emplace(std::move(normalized));
  }

  void normalize(std::string& text) const {
    for (const Normalizer& normalizer : normalizers_) normalizer(text);
  }

  void encode_valid(std::string_view text, bool starts_text, std::vector<std::int32_t>& tokens) const {
    const auto add_token = [&](std::int32_t id) { tokens.push_back(id); };
    const PreTokenizer::Visit add_piece = [&](std::string_view piece, bool /*starts_text*/) {
      bpe_->encode(piece, tokens);
    };
    added_->split(text, add_token, [&](std::string_view part, bool starts_part) {
      std::string normalized;
      if (!normalizers_.empty()) {
        normalized = part;
        normalize(normalized);
        part = normalized;
      }
      added_normalized_->split(part, add_token, [&](std::string_view rest, bool starts_rest) {
        pre_tokenizers_.split(rest, starts_text && starts_part && starts_rest, add_piece);
      });
    });
  }

  std::vector<Normalizer> normalizers_;
  PreTokenizers pre_tokenizers_;
  Decoder decoder_;
  std::optional<Bpe> bpe_;
  std::optional<AddedTokens> added_, added_normalized_;  // found in the text, and in the normalized text
  std::vector<Token> tokens_;                            // by id
  TokenIds ids_;                                         // by spelling
  std::int32_t separator_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> make_json_tokenizer(std::string_view json, std::string_view separator) {
  const Json root = parse_json<Json>(json);
  return std::make_unique<JsonTokenizer>(JsonObject(root, ""), separator);
}

}  // namespace mudelta
