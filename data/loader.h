#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "core/tensor.h"
#include "data/dataset.h"

namespace mudelta {

struct LoaderOptions {
  std::int64_t sequence_length = 0;  // target tokens per row
  std::uint64_t seed = 1;
  bool shuffle = true;
  bool reset_at_documents = true;
  std::string order = {};   // part of the key of the random order
  int part = 0, parts = 1;  // which of so many neighbouring parts of each row is wanted; parts divide sequence_length
};

// Rows, or parts of rows, packed one after another: one sequence per document piece (or per row without resets).
struct Batch {
  Tensor tokens;      // [rows * sequence_length / parts] int32
  Tensor targets;     // like tokens: the token after each
  Tensor cu_seqlens;  // [sequences + 1] int32, from 0 to the number of tokens
  // Of parts, [rows, 3] int32: the number of a row's first sequence, that of its last, and how many tokens of the first
  // one's document stand in the row before this part. Undefined of whole rows.
  Tensor edges;
};

// A batch of rows, or parts of rows, of which `read(i, row)` gives the first tokens of number i, as many as are needed.
// Throws Error on what `read` throws, and on a count beyond what a batch can have.
Batch pack_rows(const LoaderOptions& options, std::int32_t separator, std::int64_t count,
                const std::function<void(std::int64_t i, std::span<std::int32_t> row)>& read);

// Row i of a split is its tokens [i T, i T + T], T being the sequence length: T inputs and T targets, consecutive rows
// sharing one token. Rows are visited in an order that depends on the seed and the epoch only, so that any rank can
// ask for any part of any step: the cursor of a run is its number of rows so far, whatever the number of ranks.
class Loader {
 public:
  // Throws Error if the split is shorter than one row, or if parts do not divide it. The data set must outlive the
  // loader.
  Loader(const Dataset& dataset, const LoaderOptions& options);

  std::int64_t rows_per_epoch() const { return rows_per_epoch_; }
  // Rows [first, first + count) of the endless visiting order; epoch e begins at row e x rows_per_epoch().
  Batch batch(std::int64_t first, std::int64_t count) const;
  // The tokens of the row that is visited at `position` of that order.
  void read(std::int64_t position, std::span<std::int32_t> row) const;

 private:
  const Dataset& dataset_;
  LoaderOptions options_;
  std::int64_t rows_per_epoch_;
};

}  // namespace mudelta
