#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace mudelta {

// A compiled regular expression over valid UTF-8, whose classes (\s, \w, \p{L}) are Unicode's. For one thread.
class Regex {
 public:
  enum class Lines { kOneLine, kEach };  // where ^ and $ match: at the ends of the text alone, or of each line

  // Throws Error, with the pattern, the place in it and the reason.
  explicit Regex(const std::string& pattern, Lines lines = Lines::kOneLine);
  ~Regex();
  Regex(Regex&&) noexcept;

  // Calls visit(part, is_match) for the matches in `text` and for what stands between them, in order; none of the
  // parts is empty. An empty match parts what stands before it from what stands behind it.
  // Throws Error if a match takes more memory or steps than is allowed.
  void split(std::string_view text, const std::function<void(std::string_view part, bool is_match)>& visit) const;

  // Whether a match begins where `text` begins.
  bool matches_start(std::string_view text) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// `text` as a pattern that matches it alone.
std::string quote(std::string_view text);

}  // namespace mudelta
