#include "launch/interop/config_fields.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/json.h"

namespace mudelta {
namespace {

using Json = nlohmann::json;

// The beginning of a value, for messages.
std::string brief(const Json& value) {
  constexpr std::size_t kMost = 100;
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
}

}  // namespace

ConfigFields::ConfigFields(const std::filesystem::path& file) : file_(file.string()) {
  const std::string text = read_file(file);
  try {
    fields_ = parse_json<Json>(text);
    require(fields_.is_object(), "it is {}", fields_.type_name());
  } catch (const Error& error) {
    fail("{} is not a JSON object: {}", file_, error.what());
  }
}

const Json& ConfigFields::value(std::string_view name) const {
  static const Json kAbsent;
  const auto found = fields_.find(std::string(name));
  return found == fields_.end() ? kAbsent : *found;
}

std::int64_t ConfigFields::integer(std::string_view name, std::optional<std::int64_t> otherwise) const {
  const Json& found = value(name);
  if (found.is_null() && otherwise) return *otherwise;
  const bool fits = found.is_number_integer() &&
                    !(found.is_number_unsigned() && found.get<std::uint64_t>() > std::uint64_t{INT64_MAX});
  require(fits, "{}: {} is {}, expected a whole number", file_, name, brief(found));
  return found.get<std::int64_t>();
}

double ConfigFields::number(std::string_view name, std::optional<double> otherwise) const {
  const Json& found = value(name);
  if (found.is_null() && otherwise) return *otherwise;
  require(found.is_number(), "{}: {} is {}, expected a number", file_, name, brief(found));
  return found.get<double>();
}

bool ConfigFields::flag(std::string_view name, bool otherwise) const {
  const Json& found = value(name);
  if (found.is_null()) return otherwise;
  require(found.is_boolean(), "{}: {} is {}, expected true or false", file_, name, brief(found));
  return found.get<bool>();
}

std::string ConfigFields::text(std::string_view name, std::optional<std::string> otherwise) const {
  const Json& found = value(name);
  if (found.is_null() && otherwise) return *otherwise;
  require(found.is_string(), "{}: {} is {}, expected a string", file_, name, brief(found));
  return found.get<std::string>();
}

void ConfigFields::require_flag(std::string_view name, bool expected, std::string_view why) const {
  require(flag(name, expected) == expected, "{}: {} is {}, expected {}: {}", file_, name, !expected, expected, why);
}

void ConfigFields::require_absent(std::string_view name, std::string_view why) const {
  require(value(name).is_null(), "{}: {} is {}, expected null: {}", file_, name, brief(value(name)), why);
}

void ConfigFields::require_text(std::string_view name, std::initializer_list<std::string_view> expected) const {
  const std::string found = text(name, std::string(*expected.begin()));
  require(std::ranges::find(expected, found) != expected.end(), "{}: {} is \"{}\", expected {}", file_, name, found,
          fmt::join(expected, " or "));
}

}  // namespace mudelta
