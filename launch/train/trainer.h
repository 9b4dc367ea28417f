#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/graph.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "dist/gradient_buckets.h"
#include "dist/mesh.h"
#include "launch/checkpoint/checkpoint_load.h"
#include "launch/checkpoint/checkpoint_save.h"
#include "launch/config/config.pb.h"
#include "launch/job/agreement.h"
#include "launch/train/batch_upload.h"
#include "launch/train/evaluation.h"
#include "launch/train/role_norms.h"
#include "launch/train/step_timer.h"
#include "launch/train/stored_model.h"
#include "optim/optimizer.h"
#include "optim/parametrization.h"

namespace mudelta {

struct TrainStep {
  std::int64_t step = 0;  // 1 for the first
  double loss = 0;        // mean over all target tokens of the step, nats per token
  double lr = 0;          // before multipliers
  double gradient_norm = 0;
  bool skipped = false;          // loss or gradient not finite: nothing was updated
  bool clipped = false;          // gradients were scaled down to train.grad_clip
  std::vector<RoleNorms> norms;  // every train.norms_every steps
};

// train.max_skipped_steps in a row had a loss or gradient that is not finite; `step` was the last of them.
class Divergence : public SharedError {
 public:
  Divergence(const std::string& message, const TrainStep& step) : SharedError(message), step_(step) {}
  const TrainStep& step() const { return step_; }

 private:
  TrainStep step_;
};

// One training run on the ranks of a mesh: model, optimizer, data and their place in the run. Every method that says
// so is collective over the mesh. All that a step does is a function of the configuration and the step number.
class Trainer {
 public:
  // `config`: model resolved, validated for the mesh, whose groups are fit for `device`. Initial weights come from
  // train.seed, whatever the layout.
  Trainer(const RunConfig& config, const Mesh& mesh, Device device = {});

  std::int64_t steps_done() const { return state_.step(); }
  std::int64_t tokens_done() const { return state_.tokens(); }
  double first_loss() const { return state_.first_loss(); }  // of step 1, whichever job did it
  std::int64_t tokens_per_step() const;
  std::int64_t num_parameters() const { return stored_.store.num_elements(); }

  // The next step. Collective. Throws Divergence once train.max_skipped_steps in a row have been skipped. An error in
  // the micro-batches of any rank is thrown on all of them (launch/job/agreement.h): the last whole step can be saved
  // then.
  TrainStep step();
  // What the steps since the last call took, on this rank.
  StepSeconds take_seconds() { return timer_.take(); }
  // On the validation split, until `stop` ends it (launch/train/evaluation.h). Collective.
  std::optional<Evaluation> evaluate(const std::function<bool()>& stop = {}) const;

  // Collective; see launch/checkpoint/checkpoint_save.h.
  void save(const std::filesystem::path& run_dir);
  // Returns the configuration that the checkpoint was written with.
  RunConfig load(const std::filesystem::path& checkpoint);

  const RunConfig& config() const { return config_; }
  Device device() const { return stream_.device(); }
  ParameterStore& store() { return stored_.store; }
  const LanguageModel& model() const { return stored_.model; }
  const Parametrization& parametrization() const { return parametrization_; }

 private:
  void forward_backward();
  void pass(const Batch& input, const GradientsFinal& final);
  void run_pass(const Batch& input, const GradientsFinal& final);
  void repeat_pass(const Batch& input);
  Batch load(std::int64_t first, std::int64_t count);
  Batch batch(std::int64_t first, std::int64_t count);
  void upload_ahead(std::int64_t first, std::int64_t count);
  CheckpointContext checkpoint_context();

  RunConfig config_;
  Mesh mesh_;
  Stream stream_;
  StepTimer timer_;
  Parametrization parametrization_;
  StoredModel stored_;
  Dataset train_data_, validation_data_;
  Loader loader_;
  BatchUpload upload_;
  std::optional<std::pair<std::int64_t, Batch>> uploaded_;  // ahead of its time: the first row and the batch
  Tensor loss_sum_;                                         // [1] float64: of this rank's tokens of the step
  Tensor host_loss_sum_;                        // its copy where the host reads it; the same tensor on the CPU
  std::unique_ptr<Graph> graph_;                // of passes over graph_inputs_; null without train.cuda_graph
  std::map<std::int64_t, Batch> graph_inputs_;  // by the number of sequences
  std::unique_ptr<GradientBuckets> buckets_;
  std::unique_ptr<Optimizer> optimizer_;
  TrainingState state_;
};

}  // namespace mudelta
