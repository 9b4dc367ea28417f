#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace mudelta {

// Called with each document in one piece or more, none of them empty.
using DocumentVisitor = std::function<void(std::string_view piece, bool starts_document)>;

// Cuts the text of a file, which comes part after part, into documents: the pieces between separators (leftmost first,
// not overlapping) that are not empty. A line end (\n) of the separator matches a carriage return before it too, so
// that one separator fits both kinds of text files. An empty separator leaves the text whole.
class DocumentSplitter {
 public:
  DocumentSplitter(std::string separator, DocumentVisitor visit);

  void append(std::string_view text);
  void finish();  // at the end of the text

 private:
  void cut(std::size_t num_kept);
  void visit(std::string_view piece);

  std::string separator_;
  DocumentVisitor visit_;
  std::string text_;  // not visited yet: its end may be the beginning of a separator
  bool starts_document_ = true;
};

}  // namespace mudelta
