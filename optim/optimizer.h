#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/parameter_store.h"
#include "dist/parameter_shards.h"
#include "optim/config.pb.h"
#include "optim/matrix_owners.h"
#include "optim/optimizer_kind.h"
#include "optim/parametrization.h"

namespace mudelta {

// One run of consecutive elements of this rank's part of one parameter that this rank updates, with its float32 state.
struct OptimizerSegment {
  std::size_t parameter;  // index into the store's parameters
  std::int64_t begin;     // first element within the (flattened) local part
  std::int64_t numel;
  bool is_own;      // of the ranks that hold the same elements, and at ZeRO stage 0 all update them, one owns them
  Tensor value;     // [numel], in the parameter's dtype
  Tensor gradient;  // [numel] float32, once reduced
  // Named tensors of numel float32 elements, views of live state: "weight" (the float32 master), then those of
  // state_names (optim/optimizer_kind.h).
  std::vector<std::pair<std::string, Tensor>> state;
};

struct StepReport {
  double gradient_norm = 0;  // (sum over the model's parameters of ParameterScaling.clip x |g|^2)^1/2, before clipping
  bool skipped = false;      // the norm was not finite: weights and state are as they were
  bool clipped = false;      // gradients were scaled down
};

// AdamW, SGD or Muon over the elements of a store that this rank updates: its shards.
class Optimizer {
 public:
  // Takes the store's present values as the float32 masters; who has unrounded ones writes them into the segments'
  // "weight". `scaling`: one entry per parameter. `world`: all ranks, whose own segments together hold the model, each
  // element as often as its parameter has copies (ParameterPart).
  // The store and the shards must outlive the optimizer.
  Optimizer(const OptimizerConfig& config, ParameterStore& store, ParameterShards& shards,
            std::vector<ParameterScaling> scaling, ProcessGroup world);

  // One update with learning rate `lr` (before multipliers) and clipping of StepReport.gradient_norm at `grad_clip`
  // (0: none). Expects gradients reduced by the shards, and summed over the copies where they are partial; leaves
  // every rank with the new values. A norm that is not finite skips the update on every rank alike. On a GPU the host
  // waits once, for the norm. Collective over `world`.
  StepReport step(double lr, double grad_clip, Stream stream);
  // Its two halves, for those who exchange more than the norm between ranks: this rank's part of the norm's square, for
  // which the host waits, and the update by the sum of the parts of `world`.
  double square_sum(Stream stream);
  StepReport update(double square_sum, double lr, double grad_clip, Stream stream);

  // Updates done so far: AdamW's bias correction counts them.
  std::int64_t num_updates() const { return num_updates_; }

  // State as it is saved; loading writes into the segments' tensors, then calls `state_loaded`. Segments follow the
  // shards; padding belongs to none.
  std::vector<OptimizerSegment>& segments() { return segments_; }
  // Copies the loaded masters into the values of all ranks. Collective over the shards' group.
  void state_loaded(std::int64_t num_updates, Stream stream);

 private:
  OptimizerKind update_kind_of(std::size_t parameter) const;
  // Leaves Muon's directions in the gradients of the segments that it updates.
  void find_directions(double gradient_scale, Stream stream);
  void update_segment(const OptimizerSegment& segment, double lr, double gradient_scale, Stream stream);

  OptimizerConfig config_;
  ParameterStore& store_;
  ParameterShards& shards_;
  std::vector<ParameterScaling> scaling_;
  ProcessGroup world_;
  std::optional<MatrixOwners> owners_;  // of Muon
  std::vector<OptimizerSegment> segments_;  // bucket after bucket
  std::vector<std::size_t> bucket_ends_;    // for each bucket, the number of segments in it and those before it
  Tensor square_sum_;                       // [1] float64, on the store's device
  std::int64_t num_updates_ = 0;
};

}  // namespace mudelta
