#include "data/loader.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/error.h"
#include "data/permutation.h"

namespace mudelta {

Loader::Loader(const Dataset& dataset, const LoaderOptions& options) : dataset_(dataset), options_(options) {
  require(options.sequence_length >= 1, "[loader] sequence_length is {}, expected >= 1", options.sequence_length);
  rows_per_epoch_ = (dataset.num_tokens() - 1) / options.sequence_length;
  require(rows_per_epoch_ >= 1, "{} has {} tokens, expected at least {} for one row of sequence_length {}",
          dataset.to_string(), dataset.num_tokens(), options.sequence_length + 1, options.sequence_length);
}

Batch Loader::batch(std::int64_t first, std::int64_t count) const {
  const std::int64_t length = options_.sequence_length;
  require(first >= 0 && count >= 0 && count <= std::numeric_limits<std::int32_t>::max() / length,
          "[loader] {} rows of {} tokens asked for from row {}", count, length, first);
  Batch batch{Tensor::empty({count * length}, DType::kInt32), Tensor::empty({count * length}, DType::kInt32), {}};
  std::vector<std::int32_t> row(static_cast<std::size_t>(length + 1));
  std::vector<std::int32_t> cu_seqlens;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t begin = i * length;
    dataset_.read(row_at(first + i) * length, row);
    std::ranges::copy(row.begin(), row.end() - 1, batch.tokens.data<std::int32_t>() + begin);
    std::ranges::copy(row.begin() + 1, row.end(), batch.targets.data<std::int32_t>() + begin);
    for (std::int64_t t = 0; t < length; ++t) {
      const bool starts_document = row[static_cast<std::size_t>(t)] == dataset_.info().separator;
      if (t == 0 || (starts_document && options_.reset_at_documents)) {
        cu_seqlens.push_back(static_cast<std::int32_t>(begin + t));
      }
    }
  }
  cu_seqlens.push_back(static_cast<std::int32_t>(count * length));
  batch.cu_seqlens = Tensor::from(cu_seqlens, {static_cast<std::int64_t>(cu_seqlens.size())});
  return batch;
}

std::int64_t Loader::row_at(std::int64_t position) const {
  const std::int64_t epoch = position / rows_per_epoch_;
  const std::int64_t row = position % rows_per_epoch_;
  return options_.shuffle ? Permutation(rows_per_epoch_, options_.seed, epoch)(row) : row;
}

}  // namespace mudelta
