#include "data/tokenizers/decoder.h"

#include <charconv>
#include <memory>
#include <utility>

#include "data/tokenizers/byte_level.h"
#include "data/tokenizers/pattern.h"
#include "data/tokenizers/pre_tokenizers.h"

namespace mudelta {
namespace {

// "<0x0A>" is the byte 0x0A.
void to_byte(std::string& token) {
  unsigned char byte = 0;
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return;
  const char* const end = token.data() + 5;
  if (std::from_chars(token.data() + 3, end, byte, 16).ptr == end) token.assign(1, static_cast<char>(byte));
}

// Puts `content` in the place of each match.
std::function<void(std::string&)> replacement(Regex regex, std::string content) {
  return [regex = std::make_shared<Regex>(std::move(regex)), content = std::move(content)](std::string& text) {
    std::string replaced;
    regex->split(text, [&](std::string_view part, bool is_match) { replaced += is_match ? content : part; });
    text = std::move(replaced);
  };
}

}  // namespace

Decoder::Decoder(const Json& json, const std::string& where) {
  require(!json.is_null(), "{} is null or absent: its tokens could not be put together to a text again", where);
  read(json, where);
}

std::string Decoder::text_of(std::string spelling) const {
  for (const Step& step : of_token_) step(spelling);
  return spelling;
}

std::string Decoder::first_text_of(std::string spelling) const {
  for (const Step& step : of_first_token_) step(spelling);
  return spelling;
}

void Decoder::trim(std::string& text) const {
  for (const Step& step : of_text_) step(text);
}

void Decoder::read(const Json& json, const std::string& where) {
  const JsonObject object(json, where);
  if (object.type() == "Sequence") {
    const std::string parts = object.where("decoders");
    std::size_t index = 0;
    for (const Json& part : require_array(object.field("decoders"), parts)) read(part, element_of(parts, index++));
  } else {
    read_one(object);
  }
  object.refuse_others();
}

void Decoder::add(const Step& step) { add(step, step); }

void Decoder::add(const Step& step, const Step& of_first) {
  of_token_.push_back(step);
  of_first_token_.push_back(of_first);
}

void Decoder::read_one(const JsonObject& object) {
  const std::string type = object.type();
  if (type == "Strip") {
    const Step strip = read_strip(object);
    fused_ ? of_text_.push_back(strip) : add(strip);
    return;
  }
  if (type == "Fuse") {
    fused_ = true;
    return;
  }
  require(!fused_, "{} stands behind Fuse: expected Strip alone there", object.where());
  if (type == "ByteLevel") {
    for (const char* of_encoding : {"add_prefix_space", "trim_offsets", "use_regex"}) {
      object.get<bool>(of_encoding, true);
    }
    byte_level_ = true;
    add([](std::string& token) {
      if (auto bytes = spelt_bytes(token)) token = std::move(*bytes);
    });
  } else if (type == "Metaspace") {
    object.get<std::string>("str_rep", "");
    object.get<bool>("split", true);
    const std::string sign = quote(object.get<std::string>("replacement"));
    const bool is_prepended = read_prepend_scheme(object) != PrependScheme::kNever;
    add(replacement(Regex(sign), " "), replacement(Regex(sign), is_prepended ? "" : " "));
  } else if (type == "ByteFallback") {
    add(to_byte);
  } else if (type == "Replace") {
    add(replacement(read_pattern(object.field("pattern"), object.where("pattern")),
                    object.get<std::string>("content")));
  } else {
    fail(
        "{} is \"{}\": this decoder is not supported (ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Strip and "
        "Sequence are)",
        object.where("type"), type);
  }
}

Decoder::Step Decoder::read_strip(const JsonObject& object) const {
  const auto content = object.get<std::string>("content");
  require(!content.empty(), "{} is empty", object.where("content"));
  return
      [content, start = object.get<std::int64_t>("start"), stop = object.get<std::int64_t>("stop")](std::string& text) {
        for (std::int64_t i = 0; i < start && text.starts_with(content); ++i) text.erase(0, content.size());
        for (std::int64_t i = 0; i < stop && text.ends_with(content); ++i) text.resize(text.size() - content.size());
      };
}

}  // namespace mudelta
