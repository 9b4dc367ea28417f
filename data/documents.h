#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "core/rng.h"

namespace mudelta {

// Cuts the text of a file, which comes part after part, into documents: the pieces between separators (leftmost first,
// not overlapping) that are not empty. A line end (\n) of the separator matches a carriage return before it too, so
// that one separator fits both kinds of text files. An empty separator leaves the text whole.
class DocumentSplitter {
 public:
  // Called with each document in one piece or more, none of them empty.
  using Visitor = std::function<void(std::string_view piece, bool starts_document)>;

  DocumentSplitter(std::string separator, Visitor visit);

  void append(std::string_view text);
  void finish();  // at the end of the text

 private:
  void cut(std::size_t num_kept);
  void visit(std::string_view piece);

  std::string separator_;
  Visitor visit_;
  std::string text_;  // not visited yet: its end may be the beginning of a separator
  bool starts_document_ = true;
};

// The sizes of documents, all of them in little memory: different sizes are few, as their sum is the text's.
class DocumentSizes {
 public:
  void add(std::int64_t num_bytes) { ++counts_[num_bytes], ++num_documents_; }

  std::int64_t num_documents() const { return num_documents_; }
  std::int64_t median() const;  // the lower one of two; 0 of no documents

 private:
  std::map<std::int64_t, std::int64_t> counts_;  // of documents, by size
  std::int64_t num_documents_ = 0;
};

// Which of `num_documents` documents validate: each with probability `fraction`, drawn by (seed, document number); but
// if that chose none or all, the one with the smallest, or all but the one with the largest, draw.
class ValidationDraw {
 public:
  // Needs two documents or more and a fraction in (0, 1).
  ValidationDraw(std::uint64_t seed, double fraction, std::int64_t num_documents);

  bool operator()(std::int64_t document) const;

 private:
  double draw(std::int64_t document) const;

  CounterRng rng_;
  double threshold_;
};

}  // namespace mudelta
