#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>

#include "core/tensor.h"

namespace mudelta::kernels {

// Calls body(i) for i in [0, count), spread over the OpenMP threads. Throws, once all have ended, what one of them
// threw (for want of memory, say).
template <class Body>
void parallel_for(std::int64_t count, const Body& body) {
  std::exception_ptr failure;
#pragma omp parallel for schedule(static) if (count > 1)
  for (std::int64_t i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical(mudelta_parallel_for)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// Rows cut into blocks to be worked on in parallel. The cut depends on the sizes alone: sums made block by block and
// then added in the order of the blocks have the same bits with any number of threads.
class RowBlocks {
 public:
  RowBlocks(std::int64_t rows, std::int64_t elements_per_row) : rows_(rows) {
    constexpr std::int64_t kMinElements = 16384, kMaxBlocks = 128, kRowMultiple = 16;
    const std::int64_t wanted = std::max(kMinElements / std::max<std::int64_t>(elements_per_row, 1), rows / kMaxBlocks);
    rows_per_block_ = (wanted / kRowMultiple + 1) * kRowMultiple;
  }

  std::int64_t count() const { return (rows_ + rows_per_block_ - 1) / rows_per_block_; }

  // body(block, begin, end) for every block, in parallel: rows [begin, end).
  template <class Body>
  void for_each(const Body& body) const {
    parallel_for(count(), [&](std::int64_t block) {
      const std::int64_t begin = block * rows_per_block_;
      body(block, begin, std::min(begin + rows_per_block_, rows_));
    });
  }

 private:
  std::int64_t rows_;
  std::int64_t rows_per_block_;
};

// total [n] += the rows of partials [blocks, n], added to one another in their order; partials is used up.
inline void add_partial_sums(const Tensor& partials, const Tensor& total) {
  const std::int64_t blocks = partials.size(0), n = partials.size(1);
  if (blocks == 0) return;
  float* sums = partials.data<float>();
  for (std::int64_t block = 1; block < blocks; ++block) {
    const float* partial = sums + block * n;
    for (std::int64_t i = 0; i < n; ++i) sums[i] += partial[i];
  }
  float* out = total.data<float>();
  for (std::int64_t i = 0; i < n; ++i) out[i] += sums[i];
}

}  // namespace mudelta::kernels
