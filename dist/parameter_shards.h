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
// The store's num_shards must be the group's size. On GPUs, communication runs on a stream of its own. All methods that
// communicate are collective over the data group, which must be made for the store's device (ProcessGroup::on_devices),
// and where gradients are partial (ParameterPart) over the tensor group.
class ParameterShards {
 public:
  // bucket_bytes: of float32 gradient, an upper bound on a bucket (of at least 16 elements a rank, at most 1 GiB).
  // Buckets hold elements of one group only and run from each buffer's end to its start: backward finishes the last
  // layers first.
  ParameterShards(ParameterStore& store, ProcessGroup data, std::int64_t bucket_bytes,
                  const ProcessGroup& tensor = ProcessGroup::single());

  // Ranges of the flat buffers that this rank owns, one a bucket, in order.
  const std::vector<FlatRange>& owned() const { return owned_; }

  // Reducing the gradients of a step: reduce_scatter_gradients, which may be preceded by calls of reduce_scatter_final
  // while the backward pass still runs. Then in the owned ranges are the sums over ranks (of the tensor group too,
  // where they are partial); elsewhere is undefined. Buckets are reduced in one order, whatever the calls: a rank whose
  // backward pass failed keeps in step with the others by calling reduce_scatter_gradients alone. Starts on the buckets
  // whose gradients are all of unit `first_final` or later ones: those no backward pass of the step will add to any
  // more.
  void reduce_scatter_final(int first_final, Stream stream);
  // Reduces the other buckets; what follows on `stream` waits for all.
  void reduce_scatter_gradients(Stream stream);

  // Giving every rank each owner's values: all_gather_values, which may be preceded by calls of all_gather_bucket for
  // those of the buckets (by their place in owned()) that are ready.
  void all_gather_bucket(std::size_t bucket, Stream stream);
  // Gathers the other buckets; what follows on `stream` waits for all.
  void all_gather_values(Stream stream);

 private:
  struct Bucket {
    FlatRange range;
    int first_unit;  // of those with elements in it
    bool gathered = false;
  };
  struct PartialGradient {
    std::size_t parameter;
    ProcessGroup copies;  // the ranks whose sums add up to the gradient
  };
  struct Reduction {
    int first_unit;  // of those whose gradients must be final
    bool is_partial;
    std::size_t index;  // in partial_ or buckets_
  };

  ParameterStore& store_;
  ProcessGroup data_;
  SideStream communication_;  // runs beside the compute stream of a GPU
  std::vector<Bucket> buckets_;
  std::vector<FlatRange> owned_;
  std::vector<PartialGradient> partial_;
  std::vector<Reduction> reductions_;  // last units first, partial sums before the buckets that hold them
  std::size_t num_reduced_ = 0;        // of those, in this step
};

}  // namespace mudelta
