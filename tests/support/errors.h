#pragma once

#include <string>
#include <utility>

#include "core/error.h"

namespace mudelta::testing {

// The message of the Error that `body` throws; "no error was thrown" if there is none.
template <class Body>
std::string error_of(Body&& body) {
  try {
    std::forward<Body>(body)();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error was thrown";
}

}  // namespace mudelta::testing
