#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "core/rng.h"

namespace mudelta {

// Calls visit(document) for each piece of `text` between separators (leftmost first, not overlapping) that is not
// empty; an empty separator leaves `text` whole.
void for_each_document(std::string_view text, std::string_view separator,
                       const std::function<void(std::string_view)>& visit);

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
