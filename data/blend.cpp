#include "data/blend.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "core/shape.h"

namespace mudelta {
namespace {

constexpr std::uint64_t kGoldenRatio = 0x9e3779b97f4a7c15;  // its fractional part, times 2^64

double to_unit_interval(std::uint64_t x) { return static_cast<double>(x >> 11) * 0x1p-53; }

}  // namespace

Blend::Blend(std::vector<BlendSource> sources, std::uint64_t seed, std::int64_t row, std::vector<std::int64_t> cursors)
    : sources_(std::move(sources)),
      offset_(CounterRng(seed, "data.blend").bits(0)),
      row_(row),
      cursors_(std::move(cursors)),
      ends_(sources_.size()) {
  CHECK(!sources_.empty() && cursors_.size() == sources_.size());
  for (const BlendSource& source : sources_) CHECK(source.weight > 0 && source.rows > 0) << source.name;
  divide();
}

Blend::Draw Blend::next() {
  const double point = to_unit_interval(offset_ + static_cast<std::uint64_t>(row_) * kGoldenRatio);
  const auto found = std::ranges::upper_bound(ends_, point);
  require(found != ends_.end(), "all sources have ended before row {}: give one of them more epochs, or end the run",
          row_);
  const auto source = static_cast<std::size_t>(found - ends_.begin());
  const Draw draw{source, cursors_[source]++};
  ++row_;
  if (has_ended(source)) divide();
  return draw;
}

void Blend::require_rows(std::int64_t count) const {
  std::int64_t left = 0;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (sources_[i].epochs == 0) return;
    left += std::max<std::int64_t>(product_of({sources_[i].epochs, sources_[i].rows}) - cursors_[i], 0);
  }
  require(left >= count,
          "data.sources end after {} more rows, expected {} for the steps that are to be done: give one of them more "
          "epochs (0: any number)",
          left, count);
}

bool Blend::has_ended(std::size_t source) const {
  const BlendSource& of = sources_[source];
  return of.epochs > 0 && cursors_[source] / of.rows >= of.epochs;
}

void Blend::divide() {
  double sum = 0, end = 0;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (!has_ended(i)) sum += sources_[i].weight;
  }
  std::size_t last = sources_.size();
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (!has_ended(i)) {
      end += sources_[i].weight;
      last = i;
    }
    ends_[i] = sum > 0 ? end / sum : 0;
  }
  for (std::size_t i = last; i < sources_.size(); ++i) ends_[i] = 1;  // whatever the sum was rounded to
}

}  // namespace mudelta
