#include "data/tokenizers/json_object.h"

#include <utility>

namespace mudelta {

JsonObject::JsonObject(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
  require(json.is_object(), "{} is {}, expected an object", where_.empty() ? "it" : where_, shown(json));
}

std::string JsonObject::where(std::string_view name) const {
  return where_.empty() ? std::string(name) : fmt::format("{}.{}", where_, name);
}

const Json& JsonObject::field(const std::string& name) const {
  static const Json kNull;
  known_.insert(name);
  const auto found = json_.find(name);
  return found == json_.end() ? kNull : *found;
}

void JsonObject::refuse_others() const {
  for (const auto& [name, value] : json_.items()) {
    require(known_.contains(name), "{} is {}: this field is not supported", where(name), shown(value));
  }
}

template <>
bool JsonObject::convert<bool>(const Json& json, const std::string& where) {
  require(json.is_boolean(), "{} is {}, expected true or false", where, shown(json));
  return json.get<bool>();
}

template <>
std::int64_t JsonObject::convert<std::int64_t>(const Json& json, const std::string& where) {
  require(json.is_number_integer(), "{} is {}, expected a whole number", where, shown(json));
  return json.get<std::int64_t>();
}

template <>
std::string JsonObject::convert<std::string>(const Json& json, const std::string& where) {
  require(json.is_string(), "{} is {}, expected a string", where, shown(json));
  return json.get<std::string>();
}

const Json& require_array(const Json& json, const std::string& where) {
  require(json.is_array(), "{} is {}, expected an array", where, shown(json));
  return json;
}

std::string element_of(const std::string& where, std::size_t index) { return fmt::format("{}[{}]", where, index); }

std::string shown(const Json& json) {
  constexpr std::size_t kLongest = 60;
  if (json.is_null()) return "null or absent";
  if (json.is_structured() && json.size() > 20) return fmt::format("{} of {} elements", json.type_name(), json.size());
  std::string text = json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

}  // namespace mudelta
