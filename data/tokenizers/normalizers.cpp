#include "data/tokenizers/normalizers.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "data/tokenizers/pattern.h"
#include "data/tokenizers/utf8.h"

namespace mudelta {
namespace {

struct UnicodeForm {
  std::string_view name;
  int options;
  char32_t first_changed;  // characters before it stay as they are, whatever their neighbours
};

constexpr UnicodeForm kUnicodeForms[] = {
    {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE, 0x300},
    {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, 0xc0},
    {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT, 0xa0},
    {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, 0xa0},
};

bool has_from(std::string_view text, char32_t first) {
  for (std::size_t i = 0; i < text.size(); i += utf8_length(text[i])) {
    if (static_cast<unsigned char>(text[i]) >= 0x80 && first_code_point(text.substr(i)) >= first) return true;
  }
  return false;
}

void to_form(const UnicodeForm& form, std::string& text) {
  if (!has_from(text, form.first_changed)) return;
  utf8proc_uint8_t* result = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &result, static_cast<utf8proc_option_t>(form.options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  require(size >= 0, "{} of {} bytes of text: {}", form.name, text.size(), utf8proc_errmsg(size));
  text.assign(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
}

void to_lowercase(std::string& text) {
  constexpr char32_t kCapitalIWithDot = 0x130;  // the one whose lower case is two characters
  constexpr char32_t kDotAbove = 0x307;
  std::string lower;
  for (std::size_t i = 0; i < text.size(); i += utf8_length(text[i])) {
    const char32_t c = first_code_point(std::string_view(text).substr(i));
    if (c == kCapitalIWithDot) {
      lower += 'i';
      append_utf8(kDotAbove, lower);
    } else {
      append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), lower);
    }
  }
  text = std::move(lower);
}

void strip(bool left, bool right, std::string& text) {
  std::size_t begin = 0, end = 0;  // end: of the last character that is no white space
  bool seen = false;
  for (std::size_t i = 0; i < text.size(); i += utf8_length(text[i])) {
    if (is_white_space(first_code_point(std::string_view(text).substr(i)))) continue;
    if (!std::exchange(seen, true)) begin = i;
    end = i + utf8_length(text[i]);
  }
  if (right) text.resize(left || seen ? end : 0);
  if (left) text.erase(0, seen ? begin : text.size());
}

Normalizer read_replace(const JsonObject& object) {
  const auto pattern = std::make_shared<Regex>(read_pattern(object.field("pattern"), object.where("pattern")));
  const auto content = object.get<std::string>("content");
  return [pattern, content](std::string& text) {
    std::string replaced;
    pattern->split(text, [&](std::string_view part, bool is_match) { replaced += is_match ? content : part; });
    text = std::move(replaced);
  };
}

Normalizer read_strip(const JsonObject& object) {
  const bool left = object.get<bool>("strip_left"), right = object.get<bool>("strip_right");
  return [left, right](std::string& text) { strip(left, right, text); };
}

Normalizer read_one(const JsonObject& object) {
  const std::string type = object.type();
  const auto* form = std::ranges::find(kUnicodeForms, type, &UnicodeForm::name);
  if (form != std::end(kUnicodeForms)) return [form](std::string& text) { to_form(*form, text); };
  if (type == "Lowercase") return to_lowercase;
  if (type == "Replace") return read_replace(object);
  if (type == "Strip") return read_strip(object);
  if (type == "Prepend") {
    return [prefix = object.get<std::string>("prepend")](std::string& text) {
      if (!text.empty()) text.insert(0, prefix);
    };
  }
  fail(
      "{} is \"{}\": this normalizer is not supported (NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip and "
      "Sequence are)",
      object.where("type"), type);
}

}  // namespace

std::vector<Normalizer> read_normalizers(const Json& json, const std::string& where) {
  if (json.is_null()) return {};
  std::vector<Normalizer> normalizers;
  const JsonObject object(json, where);
  if (object.type() == "Sequence") {
    const std::string parts = object.where("normalizers");
    std::size_t index = 0;
    for (const Json& part : require_array(object.field("normalizers"), parts)) {
      std::ranges::move(read_normalizers(part, element_of(parts, index++)), std::back_inserter(normalizers));
    }
  } else {
    normalizers.push_back(read_one(object));
  }
  object.refuse_others();
  return normalizers;
}

}  // namespace mudelta
