#include "data/loader.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/error.h"
#include "data/permutation.h"

namespace mudelta {

Loader::Loader(const Dataset& dataset, const LoaderOptions& options) : dataset_(dataset), options_(options) {
  require(options.sequence_length >= 1, "[loader] sequence_length is {}, expected >= 1", options.sequence_length);
  require(options.parts >= 1 && options.sequence_length % options.parts == 0 && 0 <= options.part &&
              options.part < options.parts,
          "[loader] sequence_length is {}: part {} of {} is wanted, expected parts of one length",
          options.sequence_length, options.part, options.parts);
  rows_per_epoch_ = (dataset.num_tokens() - 1) / options.sequence_length;
  require(rows_per_epoch_ >= 1, "{} has {} tokens, expected at least {} for one row of sequence_length {}",
          dataset.to_string(), dataset.num_tokens(), options.sequence_length + 1, options.sequence_length);
}

Batch pack_rows(const LoaderOptions& options, std::int32_t separator, std::int64_t count,
                const std::function<void(std::int64_t i, std::span<std::int32_t> row)>& read) {
  const std::int64_t length = options.sequence_length / options.parts, part_begin = options.part * length;
  require(count >= 0 && count <= std::numeric_limits<std::int32_t>::max() / length,
          "[loader] {} rows of {} tokens asked for", count, length);
  Batch batch{.tokens = Tensor::empty({count * length}, DType::kInt32),
              .targets = Tensor::empty({count * length}, DType::kInt32)};
  std::vector<std::int32_t> row(static_cast<std::size_t>(part_begin + length + 1));  // and what targets want
  std::vector<std::int32_t> cu_seqlens, edges;
  const auto starts_document = [&](std::int64_t t) {
    return t == 0 || (options.reset_at_documents && row[static_cast<std::size_t>(t)] == separator);
  };
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t begin = i * length;
    read(i, row);
    std::ranges::copy(row.begin() + part_begin, row.end() - 1, batch.tokens.data<std::int32_t>() + begin);
    std::ranges::copy(row.begin() + part_begin + 1, row.end(), batch.targets.data<std::int32_t>() + begin);
    std::int64_t document_begin = part_begin;
    while (!starts_document(document_begin)) --document_begin;
    edges.push_back(static_cast<std::int32_t>(cu_seqlens.size()));
    for (std::int64_t t = 0; t < length; ++t) {
      if (t == 0 || starts_document(part_begin + t)) cu_seqlens.push_back(static_cast<std::int32_t>(begin + t));
    }
    edges.push_back(static_cast<std::int32_t>(cu_seqlens.size()) - 1);
    edges.push_back(static_cast<std::int32_t>(part_begin - document_begin));
  }
  cu_seqlens.push_back(static_cast<std::int32_t>(count * length));
  batch.cu_seqlens = Tensor::from(cu_seqlens, {static_cast<std::int64_t>(cu_seqlens.size())});
  if (options.parts > 1) batch.edges = Tensor::from(edges, {count, 3});
  return batch;
}

Batch Loader::batch(std::int64_t first, std::int64_t count) const {
  require(first >= 0, "[loader] {} rows asked for from row {}", count, first);
  return pack_rows(options_, dataset_.info().separator, count,
                   [&](std::int64_t i, std::span<std::int32_t> row) { read(first + i, row); });
}

void Loader::read(std::int64_t position, std::span<std::int32_t> row) const {
  const std::int64_t epoch = position / rows_per_epoch_, place = position % rows_per_epoch_;
  const std::int64_t number =
      options_.shuffle ? Permutation(rows_per_epoch_, options_.seed, epoch, options_.order)(place) : place;
  dataset_.read(number * options_.sequence_length, row);
}

}  // namespace mudelta
