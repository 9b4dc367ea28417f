#pragma once

#include <cstdint>
#include <map>

#include "core/rng.h"

namespace mudelta {

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
