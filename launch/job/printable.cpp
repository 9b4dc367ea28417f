#include "launch/job/printable.h"

#include <fmt/format.h>

namespace mudelta {
namespace {

// The bytes of the control character that `text` begins with; 0 if it begins with another one.
std::size_t control_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first == '\n' || first == '\t') return 0;
  if (first < ' ' || first == 0x7f) return 1;
  const auto second = static_cast<unsigned char>(text.size() > 1 ? text[1] : 0);
  return first == 0xc2 && second >= 0x80 && second < 0xa0 ? 2 : 0;  // U+0080 to U+009F in UTF-8
}

}  // namespace

std::string printable(std::string_view text) {
  std::string shown;
  while (!text.empty()) {
    const std::size_t length = control_length(text);
    for (const char c : text.substr(0, length)) shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    if (length == 0) shown += text[0];
    text.remove_prefix(length > 0 ? length : 1);
  }
  return shown;
}

}  // namespace mudelta
