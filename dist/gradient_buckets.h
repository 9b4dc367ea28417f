#pragma once

#include <cstdint>
#include <vector>

#include "core/parameter_store.h"
#include "dist/process_group.h"

namespace mudelta {

// Elements [begin, end) of flat group number `group`.
struct FlatRange {
  std::size_t group;
  std::int64_t begin;
  std::int64_t end;
};

// Cuts a store's flat buffers into buckets, and each bucket into one equal part per rank of the data group. A rank
// owns its part of every bucket: it keeps the optimizer state of those elements (ZeRO stage 1).
// The store's num_shards must be the group's size.
class GradientBuckets {
 public:
  // bucket_bytes: of float32 gradient, an upper bound on a bucket (of at least 16 elements a rank, at most 1 GiB).
  // Buckets hold elements of one group only and run from each buffer's end to its start: backward finishes the last
  // layers first.
  GradientBuckets(ParameterStore& store, ProcessGroup data, std::int64_t bucket_bytes);

  // Ranges of the flat buffers that this rank owns, one a bucket, in order.
  const std::vector<FlatRange>& owned() const { return owned_; }

  // Gradients: in the owned ranges, the sum over ranks; elsewhere undefined. Collective over the data group.
  void reduce_scatter_gradients(Stream stream);
  // Values: every rank gets each owner's. Collective over the data group.
  void all_gather_values(Stream stream);

 private:
  ParameterStore& store_;
  ProcessGroup data_;
  std::vector<FlatRange> buckets_;
  std::vector<FlatRange> owned_;
};

}  // namespace mudelta
