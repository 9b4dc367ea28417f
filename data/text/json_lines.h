#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace mudelta {

// Reads JSON lines, which come part after part: an object a line, whose field `field` is a text. Empty lines are none.
class JsonLines {
 public:
  using Visitor = std::function<void(std::string_view text)>;
  // Called with the line's number, 1 for the first, and what is wrong with it.
  using BadVisitor = std::function<void(std::int64_t line, const std::string& reason)>;

  static constexpr std::size_t kMaxLineBytes = std::size_t{1} << 30;

  // Calls `visit` with each text, in UTF-8 and perhaps empty, and `bad` for a line that is no JSON in UTF-8 (a lone
  // half of a surrogate pair is none), no object, or has no text in the field.
  JsonLines(std::string name, std::string field, Visitor visit, BadVisitor bad);

  // Throws Error on a line beyond kMaxLineBytes.
  void append(std::string_view part);
  void finish();  // at the end of the file

 private:
  void read(std::string_view line);

  std::string name_, field_;
  Visitor visit_;
  BadVisitor bad_;
  std::string begun_;  // of a line whose end has not come yet
  std::int64_t num_lines_ = 0;
};

}  // namespace mudelta
