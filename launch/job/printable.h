#pragma once

#include <string>
#include <string_view>

namespace mudelta {

// `text` with each control character but line ends and tabs as "\\x1b": a name from a file or a command line cannot
// steer the terminal that shows it.
std::string printable(std::string_view text);

}  // namespace mudelta
