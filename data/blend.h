#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mudelta {

// A source of rows, as the draw sees it.
struct BlendSource {
  std::string name;  // for errors
  double weight = 1;
  std::int64_t rows = 0;    // of an epoch
  std::int64_t epochs = 0;  // it has ended after so many; 0: it never does
};

// Which source each row of a run comes from, and which of that source's rows it is. The source of row i is a function
// of the seed, i, and the weights of those that have not ended: the point (offset + i * golden ratio) mod 1 lies in its
// part of the unit interval. So the number of rows from each stays within a few of its share, however long the run and
// however small its weight; and as rows within a source are counted by themselves, weights and sources may change
// between any two rows.
class Blend {
 public:
  // `cursors`: the rows of each source that were taken before row `row`. Weights are above 0.
  Blend(std::vector<BlendSource> sources, std::uint64_t seed, std::int64_t row, std::vector<std::int64_t> cursors);

  struct Draw {
    std::size_t source;
    std::int64_t position;  // in the source's endless order; epoch e begins at e x rows
  };
  // Of row `row()`, which becomes the next one. Throws Error if all sources have ended.
  Draw next();

  std::int64_t row() const { return row_; }
  const std::vector<std::int64_t>& cursors() const { return cursors_; }
  const std::vector<BlendSource>& sources() const { return sources_; }
  // Throws Error if all sources end before `count` more rows.
  void require_rows(std::int64_t count) const;

 private:
  bool has_ended(std::size_t source) const;
  void divide();

  std::vector<BlendSource> sources_;
  std::uint64_t offset_;
  std::int64_t row_;
  std::vector<std::int64_t> cursors_;
  std::vector<double> ends_;  // of the sources' parts of the unit interval; those that have ended have none
};

}  // namespace mudelta
