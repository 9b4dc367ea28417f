#include "data/tokenizers/pre_tokenizers.h"

#include <array>
#include <iterator>
#include <utility>

#include "data/tokenizers/byte_level.h"
#include "data/tokenizers/pattern.h"
#include "data/tokenizers/regex.h"

namespace mudelta {
namespace {

// What becomes of the parts that a pattern matches (the delimiters).
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
constexpr std::array<std::pair<std::string_view, Behavior>, 5> kBehaviors = {{
    {"Removed", Behavior::kRemoved},
    {"Isolated", Behavior::kIsolated},
    {"MergedWithPrevious", Behavior::kMergedWithPrevious},
    {"MergedWithNext", Behavior::kMergedWithNext},
    {"Contiguous", Behavior::kContiguous},
}};

Behavior read_behavior(const JsonObject& object) {
  const auto name = object.get<std::string>("behavior");
  std::vector<std::string_view> known;
  for (const auto& [text, behavior] : kBehaviors) {
    if (text == name) return behavior;
    known.push_back(text);
  }
  fail("{} is \"{}\", expected one of {}", object.where("behavior"), name, fmt::join(known, ", "));
}

class PatternSplit : public PreTokenizer {
 public:
  PatternSplit(Regex regex, Behavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}

  void split(std::string_view text, bool starts_text, const Visit& visit) const override {
    const char* const start = text.data();
    const auto emit = [&](std::string_view piece) {
      if (!piece.empty()) visit(piece, starts_text && piece.data() == start);
    };
    std::string_view pending;  // what the next part may yet be joined to
    bool was_delimiter = false;
    regex_.split(text, [&](std::string_view part, bool is_match) {
      const bool is_delimiter = is_match != invert_;
      switch (behavior_) {
        case Behavior::kIsolated: emit(part); return;
        case Behavior::kRemoved:
          if (!is_delimiter) emit(part);
          return;
        default: break;
      }
      // Part after part: each is joined to the one before, or ends it.
      const bool joins = behavior_ == Behavior::kContiguous           ? is_delimiter == was_delimiter
                         : behavior_ == Behavior::kMergedWithPrevious ? is_delimiter && !was_delimiter
                                                                      : !is_delimiter && was_delimiter;
      if (joins && !pending.empty()) {
        pending = {pending.data(), pending.size() + part.size()};
      } else {
        emit(pending);
        pending = part;
      }
      was_delimiter = is_delimiter;
    });
    emit(pending);
  }

 private:
  Regex regex_;
  Behavior behavior_;
  bool invert_;
};

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space), use_regex_(use_regex) {}

  void split(std::string_view text, bool starts_text, const Visit& visit) const override {
    std::string spaced;
    if (add_prefix_space_ && !text.starts_with(' ')) {
      spaced = fmt::format(" {}", text);
      text = spaced;
    }
    if (!use_regex_) return visit(text, starts_text);
    gpt2_.split(text, [&](std::string_view part, bool /*is_match*/) { visit(part, starts_text); });
  }

 private:
  bool add_prefix_space_, use_regex_;
  Regex gpt2_{kGpt2Pattern};
};

class Metaspace : public PreTokenizer {
 public:
  Metaspace(std::string sign, PrependScheme scheme, bool cuts) : sign_(std::move(sign)), scheme_(scheme), cuts_(cuts) {}

  void split(std::string_view text, bool starts_text, const Visit& visit) const override {
    std::string changed;
    for (const char c : text) c == ' ' ? changed += sign_ : changed += c;
    const bool prepends = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && starts_text);
    if (prepends && !changed.starts_with(sign_)) changed.insert(0, sign_);
    const std::string_view rest = changed;
    std::size_t begin = 0;
    while (begin < rest.size()) {
      const std::size_t next = cuts_ ? rest.find(sign_, begin + 1) : rest.npos;
      visit(rest.substr(begin, next == rest.npos ? next : next - begin), starts_text && begin == 0);
      begin = next == rest.npos ? rest.size() : next;
    }
  }

 private:
  std::string sign_;
  PrependScheme scheme_;
  bool cuts_;
};

std::unique_ptr<PreTokenizer> read_metaspace(const JsonObject& object) {
  const auto sign = object.get<std::string>("replacement");
  require(!sign.empty(), "{} is empty", object.where("replacement"));
  object.get<std::string>("str_rep", "");  // of old files: the same again
  return std::make_unique<Metaspace>(sign, read_prepend_scheme(object), object.get<bool>("split", true));
}

std::unique_ptr<PreTokenizer> read_digits(const JsonObject& object) {
  const bool each = object.get<bool>("individual_digits");
  return std::make_unique<PatternSplit>(Regex(each ? "\\p{N}" : "\\p{N}+"), Behavior::kIsolated, false);
}

// Null if it leaves the pieces as they are, but for their spelling.
std::unique_ptr<PreTokenizer> read_byte_level(const JsonObject& object) {
  object.get<bool>("trim_offsets", true);  // of places in the text, which nobody asks for here
  const bool add_prefix_space = object.get<bool>("add_prefix_space"), use_regex = object.get<bool>("use_regex", true);
  return add_prefix_space || use_regex ? std::make_unique<ByteLevel>(add_prefix_space, use_regex) : nullptr;
}

std::unique_ptr<PreTokenizer> read_one(const JsonObject& object) {
  const std::string type = object.type();
  if (type == "ByteLevel") return read_byte_level(object);
  if (type == "Metaspace") return read_metaspace(object);
  if (type == "Digits") return read_digits(object);
  if (type == "Split") {
    return std::make_unique<PatternSplit>(read_pattern(object.field("pattern"), object.where("pattern")),
                                          read_behavior(object), object.get<bool>("invert", false));
  }
  fail("{} is \"{}\": this pre-tokenizer is not supported (ByteLevel, Digits, Metaspace, Split and Sequence are)",
       object.where("type"), type);
}

void read_chain(const Json& json, const std::string& where, PreTokenizers& all) {
  const JsonObject object(json, where);
  if (object.type() == "Sequence") {
    const std::string parts = object.where("pretokenizers");
    std::size_t index = 0;
    for (const Json& part : require_array(object.field("pretokenizers"), parts)) {
      read_chain(part, element_of(parts, index++), all);
    }
  } else {
    require(!all.byte_level, "{} stands behind ByteLevel: expected ByteLevel to be the last", where);
    if (auto one = read_one(object)) all.chain.push_back(std::move(one));
    all.byte_level = object.type() == "ByteLevel";
  }
  object.refuse_others();
}

void split_from(const PreTokenizers& all, std::size_t step, std::string_view text, bool starts_text,
                const PreTokenizer::Visit& visit) {
  if (step == all.chain.size()) return visit(text, starts_text);
  if (step + 1 == all.chain.size()) return all.chain[step]->split(text, starts_text, visit);
  all.chain[step]->split(text, starts_text, [&, step](std::string_view piece, bool starts) {
    split_from(all, step + 1, piece, starts, visit);
  });
}

}  // namespace

void PreTokenizers::split(std::string_view text, bool starts_text, const PreTokenizer::Visit& visit) const {
  split_from(*this, 0, text, starts_text, visit);
}

PreTokenizers read_pre_tokenizers(const Json& json, const std::string& where) {
  PreTokenizers all;
  if (!json.is_null()) read_chain(json, where, all);
  return all;
}

PrependScheme read_prepend_scheme(const JsonObject& metaspace) {
  const bool adds = metaspace.get<bool>("add_prefix_space", true);  // of old files
  const auto scheme = metaspace.get<std::string>("prepend_scheme", adds ? "always" : "never");
  if (scheme == "always") return PrependScheme::kAlways;
  if (scheme == "first") return PrependScheme::kFirst;
  require(scheme == "never", "{} is \"{}\", expected always, first or never", metaspace.where("prepend_scheme"),
          scheme);
  return PrependScheme::kNever;
}

}  // namespace mudelta
