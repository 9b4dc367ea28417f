#include "data/documents.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>

namespace mudelta {

std::int64_t DocumentSizes::median() const {
  std::int64_t after = (num_documents_ + 1) / 2;  // documents up to the median
  for (const auto& [num_bytes, count] : counts_) {
    after -= count;
    if (after <= 0) return num_bytes;
  }
  return 0;
}

ValidationDraw::ValidationDraw(std::uint64_t seed, double fraction, std::int64_t num_documents)
    : rng_(seed, "data.validation") {
  CHECK_GE(num_documents, 2);
  double smallest = 1, largest = 0;
  for (std::int64_t document = 0; document < num_documents; ++document) {
    smallest = std::min(smallest, draw(document));
    largest = std::max(largest, draw(document));
  }
  threshold_ = std::clamp(fraction, std::nextafter(smallest, 1.0), largest);
}

bool ValidationDraw::operator()(std::int64_t document) const { return draw(document) < threshold_; }

double ValidationDraw::draw(std::int64_t document) const { return rng_.uniform(static_cast<std::uint64_t>(document)); }

}  // namespace mudelta
