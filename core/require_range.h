#pragma once

#include <cstdint>
#include <string_view>

#include "core/error.h"

// Checks of a configuration's numbers: each throws an Error that names the field, its value and what was expected.

namespace mudelta {

inline void require_at_least(std::string_view field, std::int64_t value, std::int64_t minimum) {
  require(value >= minimum, "{} is {}: expected at least {}", field, value, minimum);
}

inline void require_positive(std::string_view field, double value) {
  require(value > 0, "{} is {}: expected more than 0", field, value);
}

inline void require_not_negative(std::string_view field, double value) {
  require(value >= 0, "{} is {}: expected at least 0", field, value);
}

// Of decaying averages: at 1 they would never move.
inline void require_decay_rate(std::string_view field, double value) {
  require(value >= 0 && value < 1, "{} is {}: expected at least 0 and less than 1", field, value);
}

}  // namespace mudelta
