#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace mudelta {

// A mistake in what the user gave us (configuration, file, shape) or a resource that ran out.
// The message names the thing, its value and what was expected. `main` prints it with the rank and exits with code 2.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> message, Args&&... args) {
  throw Error(fmt::format(message, std::forward<Args>(args)...));
}

// Throws Error unless `condition` holds. For our own invariants use glog's CHECK instead.
template <class... Args>
void require(bool condition, fmt::format_string<Args...> message, Args&&... args) {
  if (!condition) [[unlikely]] fail(message, std::forward<Args>(args)...);
}

}  // namespace mudelta
