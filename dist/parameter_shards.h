#pragma once

#include <cstdint>
#include <span>
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

// Elements that this rank updates.
struct Shard {
  FlatRange range;
  std::size_t bucket;  // that it is a part of
  bool is_own;         // one rank of the data group owns them; at stage 0 all update them
  Tensor values;       // [end - begin], in the dtype of the group
  Tensor gradients;    // [end - begin] float32
};

// What a store holds whole at a ZeRO stage (docs/parallelism.md).
WholeBuffers whole_buffers(int zero_stage);

// Cuts a store's layout into buckets, and each bucket into one equal part per rank of the data group, its owner. What
// is cut follows from the ZeRO stage. 0: nothing; every rank updates everything. 1: a rank updates what it owns, and
// keeps the optimizer's state of that alone. 2: it also keeps the sums of gradients of that alone; whole gradients
// exist of the units that a backward pass is at. 3: so do values. The store holds what whole_buffers says, and its
// num_shards is the group's size. On GPUs, communication runs on streams of its own. All methods that communicate are
// collective over the data group, which must be made for the store's device (ProcessGroup::on_devices), and where
// gradients are partial (ParameterPart) over the tensor group.
class ParameterShards {
 public:
  // bucket_bytes: of float32 gradient, an upper bound on a bucket (of at least 16 elements a rank, at most 1 GiB).
  // Buckets hold elements of one group only, from stage 2 on of one unit, and run from each buffer's end to its start:
  // backward finishes the last layers first.
  ParameterShards(ParameterStore& store, ProcessGroup data, std::int64_t bucket_bytes,
                  const ProcessGroup& tensor = ProcessGroup::single(), int zero_stage = 1);

  // In the order of buckets.
  const std::vector<Shard>& shards() const { return shards_; }

  // Gradients of a step: zero_gradients(); for each pass, open_gradients() of a unit before the pass adds to it and
  // gradients_final() of the units, falling, as it finishes them; finish_gradients(). Then the shards have the sums
  // over ranks (of the tensor group too, where they are partial), while whole gradients are undefined.
  void zero_gradients();
  // From stage 2 on, gives the unit gradients of zeros, unless it has some.
  void open_gradients(int unit, Stream stream);
  // Before stage 2: no pass of the step will add to the gradients of that unit, or of later ones, any more. Called in
  // the last pass, if at all: buckets are reduced in one order, whatever the calls, and a rank whose pass failed keeps
  // in step with the others by calling finish_gradients() alone. From stage 2 on: this pass will not. Called in each
  // pass, by all ranks alike; the unit's gradients are added to those of the shards, and absent from then on.
  void gradients_final(int unit, Stream stream);
  // Reduces what is left, before stage 2; what follows on `stream` waits for all.
  void finish_gradients(Stream stream);

  // Giving every rank each owner's values: gather_values(), which may be preceded by calls of gather_bucket() for those
  // that are ready. What follows on `stream` waits for all. At stage 3 nothing is gathered, and the values of units are
  // forgotten.
  void gather_bucket(std::size_t bucket, Stream stream);
  void gather_values(Stream stream);
  // At stage 3: what follows on `stream` may read the values of `units`; starts to gather those of `next`, beside that.
  // All other units' are absent from now on. Alike on all ranks.
  void read_units(std::span<const int> units, std::span<const int> next, Stream stream);

 private:
  struct Bucket {
    FlatRange range;
    std::size_t unit;  // the first with elements in it: its place among the group's
    std::size_t own;   // the shard of it that this rank owns
    bool gathered = false;
  };
  // Gradients whose sum over neighbours in the tensor group is that of the model.
  struct Partial {
    FlatRange range;
    std::size_t unit;
    ProcessGroup copies;
  };
  struct Reduction {
    int unit;  // the first whose gradients must be final
    bool is_partial;
    std::size_t index;  // in partial_ or buckets_
  };

  template <class Visit>
  void for_each_place(int unit, const Visit& visit);
  void cut(std::int64_t bucket_bytes);
  void find_partial(const ProcessGroup& tensor);
  void hold_shards();
  void reduce(const Reduction& reduction);
  void drop_values(std::span<const int> but_of, std::span<const int> and_of);
  void gather_unit(int unit, Stream stream);
  Tensor whole_gradients(const FlatRange& range, std::size_t unit) const;

  ParameterStore& store_;
  ProcessGroup data_;
  int zero_stage_;
  SideStream reducing_, gathering_;  // run beside the compute stream of a GPU
  std::vector<Bucket> buckets_;
  std::vector<Shard> shards_;
  std::vector<Tensor> held_gradients_;  // of all shards of a group, from stage 2 on
  std::vector<Partial> partial_;
  std::vector<Reduction> reductions_;  // last units first, partial sums before the buckets that hold them
  std::size_t num_reduced_ = 0;        // of those, in this step, or from stage 2 on in this pass
  std::vector<Tensor> leaving_;        // whole gradients whose reduction may not be done
};

}  // namespace mudelta
