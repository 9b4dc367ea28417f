#pragma once

#include <cstdint>

namespace mudelta {

// a / b, rounded up; neither negative.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace mudelta
