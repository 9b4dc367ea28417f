#pragma once

#include <cstdint>
#include <optional>

#include "data/loader.h"
#include "dist/gradient_buckets.h"
#include "dist/mesh.h"
#include "launch/config/config.pb.h"
#include "launch/train/recorded_pass.h"
#include "launch/train/stored_model.h"
#include "optim/optimizer.h"
#include "optim/parametrization.h"

namespace mudelta {

// A model with its optimizer on the ranks of a mesh, and what one training step does to it. Initial weights come from
// train.seed, whatever the layout.
// A step: begin_step(); add_last() of a micro-batch, after add() of those before it; reduce(); update(). Collective
// over the mesh from add_last() on.
class TrainableModel {
 public:
  // `config`: model resolved, validated for the mesh, whose groups are fit for `device`. Throws Error on
  // train.cuda_graph without a GPU.
  TrainableModel(const RunConfig& config, const Mesh& mesh, Device device);

  void begin_step();
  // Adds the gradients of a micro-batch's losses, divided by the number of target tokens of the step, and the losses
  // to those of the step.
  void add(const Batch& batch);
  // The same, and starts to reduce gradients as the backward pass finishes them (not from within a CUDA graph).
  void add_last(const Batch& batch);
  // Sums gradients over ranks: what add_last() left.
  void reduce();
  StepReport update(double lr, double grad_clip);
  // Of the step's target tokens on this rank; after update().
  double loss_sum() const { return host_loss_sum_.span<double>()[0]; }

  Stream stream() const { return stream_; }
  const Parametrization& parametrization() const { return parametrization_; }
  ParameterStore& store() { return stored_.store; }
  const ParameterStore& store() const { return stored_.store; }
  const LanguageModel& model() const { return stored_.model; }
  Optimizer& optimizer() { return optimizer_; }

 private:
  void pass(const Batch& batch, const GradientsFinal& final);

  double gradient_scale_;
  Stream stream_;
  Parametrization parametrization_;
  StoredModel stored_;
  GradientBuckets buckets_;
  Optimizer optimizer_;
  std::optional<RecordedPass> recorded_;  // with train.cuda_graph
  Tensor loss_sum_;                       // [1] float64
  Tensor host_loss_sum_;                  // its copy where the host reads it; the same tensor on the CPU
};

}  // namespace mudelta
