#include "data/documents.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>

namespace mudelta {

void for_each_document(std::string_view text, std::string_view separator,
                       const std::function<void(std::string_view)>& visit) {
  while (!text.empty()) {
    const std::size_t end = separator.empty() ? text.npos : text.find(separator);
    if (end != 0) visit(text.substr(0, end));
    if (end == text.npos) return;
    text.remove_prefix(end + separator.size());
  }
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
