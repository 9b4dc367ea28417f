#pragma once

#include <cstdint>
#include <optional>

#include "data/loader.h"
#include "dist/mesh.h"
#include "dist/parameter_shards.h"
#include "launch/config/config.pb.h"
#include "launch/train/recorded_pass.h"
#include "launch/train/stored_model.h"
#include "optim/optimizer.h"
#include "optim/parametrization.h"

namespace mudelta {

struct StepSums {
  double squares = 0;  // Optimizer::square_sum
  double losses = 0;   // of target tokens
};

// A model with its optimizer on the ranks of a mesh, and what one training step does to it. Initial weights come from
// train.seed, whatever the layout.
// A step: begin_step(); add_last() of a micro-batch, after add() of those before it; reduce(); sums(), which the caller
// adds up over all ranks of the mesh; update(). add_last(), reduce() and update() are collective over it; from ZeRO
// stage 2 on so is add(), and at stage 3 every pass of the model.
class TrainableModel {
 public:
  // `config`: model resolved, validated for the mesh, whose groups are fit for `device`. Throws Error on
  // train.cuda_graph without a GPU.
  TrainableModel(const RunConfig& config, const Mesh& mesh, Device device);

  void begin_step();
  // Adds the gradients of a micro-batch's losses, divided by the number of target tokens of the step, and the losses
  // to those of the step.
  void add(const Batch& batch);
  // The same; starts to reduce gradients as the backward pass finishes them (not from within a CUDA graph), if add()
  // has not done so.
  void add_last(const Batch& batch);
  // Sums gradients over ranks: what add_last() left. A rank that failed before keeps in step with the others by it.
  void reduce();
  // This rank's parts, for which the host waits.
  StepSums sums();
  // `squares`: StepSums of all ranks.
  StepReport update(double squares, double lr, double grad_clip);

  Stream stream() const { return stream_; }
  int zero_stage() const { return zero_stage_; }
  const Parametrization& parametrization() const { return parametrization_; }
  ParameterStore& store() { return stored_.store; }
  const ParameterStore& store() const { return stored_.store; }
  const LanguageModel& model() const { return stored_.model; }
  ParameterShards& shards() { return shards_; }
  Optimizer& optimizer() { return optimizer_; }

 private:
  void pass(const Batch& batch);
  PassHooks hooks();

  double gradient_scale_;
  int tensor_ranks_;  // which have the same losses
  int zero_stage_;
  Stream stream_;
  Parametrization parametrization_;
  StoredModel stored_;
  ParameterShards shards_;
  Optimizer optimizer_;
  bool is_last_ = false;                  // no pass of the step comes after the one that runs
  std::optional<RecordedPass> recorded_;  // with train.cuda_graph
  Tensor loss_sum_;                       // [1] float64
  Tensor host_loss_sum_;                  // its copy where the host reads it; the same tensor on the CPU
};

}  // namespace mudelta
