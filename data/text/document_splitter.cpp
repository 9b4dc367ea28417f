#include "data/text/document_splitter.h"

#include <algorithm>
#include <utility>

namespace mudelta {
namespace {

struct Match {
  std::size_t begin, end;
};

// The length of the separator where `text` begins, carriage returns included; 0 if it does not stand there.
std::size_t match_length(std::string_view text, std::string_view separator) {
  std::size_t length = 0;
  for (const char c : separator) {
    if (c == '\n' && length < text.size() && text[length] == '\r') ++length;
    if (length == text.size() || text[length] != c) return 0;
    ++length;
  }
  return length;
}

// The leftmost separator; {npos, npos} if there is none.
Match find_separator(std::string_view text, std::string_view separator) {
  const char first = separator.front();
  for (std::size_t at = text.find(first); at != text.npos; at = text.find(first, at + 1)) {
    const std::size_t length = match_length(text.substr(at), separator);
    if (length == 0) continue;
    const bool returns = first == '\n' && at > 0 && text[at - 1] == '\r';
    return {returns ? at - 1 : at, at + length};
  }
  return {text.npos, text.npos};
}

}  // namespace

DocumentSplitter::DocumentSplitter(std::string separator, DocumentVisitor visit)
    : separator_(std::move(separator)), visit_(std::move(visit)) {}

void DocumentSplitter::append(std::string_view text) {
  text_ += text;
  cut(2 * separator_.size());  // the longest match, each character a line end
}

void DocumentSplitter::finish() { cut(0); }

// Visits what is decided: all but the last `num_kept` bytes, and what stands before a separator.
void DocumentSplitter::cut(std::size_t num_kept) {
  std::string_view rest = text_;
  while (!separator_.empty()) {
    const auto [begin, end] = find_separator(rest, separator_);
    if (begin == rest.npos) break;
    visit(rest.substr(0, begin));
    starts_document_ = true;
    rest.remove_prefix(end);
  }
  const std::size_t decided = rest.size() - std::min(rest.size(), num_kept);
  visit(rest.substr(0, decided));
  text_ = std::string(rest.substr(decided));
}

void DocumentSplitter::visit(std::string_view piece) {
  if (!piece.empty()) visit_(piece, std::exchange(starts_document_, false));
}

}  // namespace mudelta
