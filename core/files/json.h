#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "core/error.h"

namespace mudelta {

constexpr int kMaxJsonDepth = 64;

// The JSON value that `text` is. Throws Error if it is none, or nests deeper than kMaxJsonDepth: what handles values
// calls itself for each level.
template <class Json>
Json parse_json(std::string_view text) {
  const auto check_depth = [](int depth, typename Json::parse_event_t /*event*/, Json& /*value*/) {
    require(depth <= kMaxJsonDepth, "JSON is nested more than {} deep", kMaxJsonDepth);
    return true;
  };
  try {
    return Json::parse(text, check_depth);
  } catch (const typename Json::exception& error) {
    fail("{}", error.what());
  }
}

}  // namespace mudelta
