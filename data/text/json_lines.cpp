#include "data/text/json_lines.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/files/json.h"

namespace mudelta {
namespace {

using nlohmann::json;

// Throws Error, saying what is wrong with it.
std::string text_of(std::string_view line, const std::string& field) {
  json object;
  try {
    object = parse_json<json>(line);
  } catch (const Error& error) {
    const std::string what = error.what();
    const std::size_t place = what.find("column ");  // after the library's name for the error, and a line number
    fail("it is no JSON: {}", place == what.npos ? what : what.substr(place));
  }
  require(object.is_object(), "it is {}, expected an object", object.type_name());
  const auto found = object.find(field);
  require(found != object.end(), "it has no field \"{}\"", field);
  require(found->is_string(), "its field \"{}\" is {}, expected a text", field, found->type_name());
  return std::move(found->get_ref<std::string&>());
}

}  // namespace

JsonLines::JsonLines(std::string name, std::string field, Visitor visit, BadVisitor bad)
    : name_(std::move(name)), field_(std::move(field)), visit_(std::move(visit)), bad_(std::move(bad)) {}

void JsonLines::append(std::string_view part) {
  for (std::size_t end = part.find('\n'); end != part.npos; end = part.find('\n')) {
    if (begun_.empty()) {
      read(part.substr(0, end));
    } else {
      begun_ += part.substr(0, end);
      read(std::exchange(begun_, {}));
    }
    part.remove_prefix(end + 1);
  }
  begun_ += part;
  require(begun_.size() <= kMaxLineBytes, "{}:{}: the line has more than {} bytes, expected JSON lines", name_,
          num_lines_ + 1, kMaxLineBytes);
}

void JsonLines::finish() {
  if (!begun_.empty()) read(std::exchange(begun_, {}));
}

void JsonLines::read(std::string_view line) {
  ++num_lines_;
  if (line.find_first_not_of(" \t\r") == line.npos) return;
  std::string text;
  try {
    text = text_of(line, field_);
  } catch (const Error& error) {
    bad_(num_lines_, error.what());
    return;
  }
  visit_(text);
}

}  // namespace mudelta
