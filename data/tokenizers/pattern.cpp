#include "data/tokenizers/pattern.h"

namespace mudelta {
namespace {

// {1,3}+ repeats the interval in Ruby's syntax; elsewhere it is possessive.
bool has_repeated_interval(const std::string& expression) {
  bool in_interval = false;
  for (std::size_t i = 0; i < expression.size(); ++i) {
    if (expression[i] == '\\') {
      const bool is_property = expression.compare(i + 1, 2, "p{") == 0 || expression.compare(i + 1, 2, "P{") == 0 ||
                               expression.compare(i + 1, 2, "x{") == 0;
      i = is_property ? expression.find('}', i) : i + 1;
      if (i >= expression.size()) return false;
    } else if (expression[i] == '{') {
      in_interval = true;
    } else if (expression[i] == '}' && in_interval) {
      if (i + 1 < expression.size() && expression[i + 1] == '+') return true;
      in_interval = false;
    }
  }
  return false;
}

}  // namespace

Regex read_pattern(const Json& json, const std::string& where) {
  const JsonObject object(json, where);
  const bool is_text = !object.field("String").is_null();
  const auto pattern = object.get<std::string>(is_text ? "String" : "Regex");
  object.refuse_others();
  require(!pattern.empty(), "{} is empty", where);
  if (is_text) return Regex(quote(pattern));
  require(!has_repeated_interval(pattern),
          "{}.Regex is {}: an interval followed by + is not supported, as engines differ in what it means", where,
          pattern);
  try {
    return Regex(pattern, Regex::Lines::kEach);
  } catch (const Error& error) {
    fail("{}.Regex: {}", where, error.what());
  }
}

}  // namespace mudelta
