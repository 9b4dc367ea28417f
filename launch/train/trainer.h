#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dist/mesh.h"
#include "launch/checkpoint/checkpoint_load.h"
#include "launch/checkpoint/checkpoint_save.h"
#include "launch/config/config.pb.h"
#include "launch/train/batch_source.h"
#include "launch/train/evaluation.h"
#include "launch/train/role_norms.h"
#include "launch/train/step_timer.h"
#include "launch/train/trainable_model.h"
#include "launch/train/training_data.h"
#include "launch/train/unsaved_error.h"
#include "launch/train/weight_source.h"

namespace mudelta {

struct TrainStep {
  std::int64_t step = 0;  // 1 for the first
  double loss = 0;        // mean over all target tokens of the step, nats per token
  double lr = 0;          // before multipliers
  double gradient_norm = 0;
  bool skipped = false;                            // a bad step (launch/train/bad_steps.h): nothing was updated
  std::string fault;                               // of a bad step
  RowRange rows;                                   // that it read
  bool clipped = false;                            // gradients were scaled down to train.grad_clip
  std::map<std::string, std::int64_t> bytes_sent;  // tensors that this rank sent, by group
  std::vector<RoleNorms> norms;                    // every train.norms_every steps
  std::vector<SourceProgress> sources;             // of a run with data.sources, after the step
};

// More bad steps than the configuration allows; `step` was the last of them.
class Divergence : public UnsavedError {
 public:
  Divergence(const std::string& message, const TrainStep& step) : UnsavedError(message), step_(step) {}
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
  std::int64_t num_parameters() const { return trainable_.store().num_elements(); }

  // The next step. Collective. Throws Divergence on a bad one by train.on_bad_step ABORT, or once
  // train.max_skipped_steps in a row have been bad, and DamagedReplica (launch/train/replica_check.h). An error of any
  // rank up to its gradients is thrown on all of them (launch/job/agreement.h): the last whole step can be saved then.
  TrainStep step();
  // The same, in which the ranks agree between micro-batches: if `stop` is true on any of them, the step is given up.
  // Nothing then; the state is as before it.
  std::optional<TrainStep> step_unless(const std::function<bool()>& stop);
  // After `bad`, the last step: goes back to a checkpoint of this run, from where on the rows of `bad` are left out.
  // Collective. Throws Divergence once train.max_rollbacks have been made, and what load() throws.
  void roll_back(const std::filesystem::path& checkpoint, const TrainStep& bad);
  // What the steps since the last call took, on this rank.
  StepSeconds take_seconds() { return timer_.take(); }
  // On the validation split, until `stop` ends it (launch/train/evaluation.h). Collective.
  std::optional<Evaluation> evaluate(const std::function<bool()>& stop = {}) const;

  // Replaces the initial weights, before the first step. Collective; see launch/train/initial_weights.h.
  void start_from(const WeightSource& weights);
  // Collective; see launch/checkpoint/checkpoint_save.h.
  void save(const std::filesystem::path& run_dir);
  // The same while training goes on (CheckpointWriter). reserve_save() takes the memory beforehand.
  void reserve_save();
  void begin_save(const std::filesystem::path& run_dir);
  bool save_is_under_way() const { return writer_.is_under_way(); }
  bool save_is_written() const { return writer_.is_written(); }
  void finish_save(const std::filesystem::path& run_dir);
  // In what checkpoints may differ from the configuration from now on (launch/checkpoint/checkpoint_model.h).
  void allow(std::vector<std::string> fields) { allowed_ = std::move(fields); }
  // Returns the configuration that the checkpoint was written with.
  RunConfig load(const std::filesystem::path& checkpoint);

  const RunConfig& config() const { return config_; }
  Device device() const { return trainable_.stream().device(); }
  ParameterStore& store() { return trainable_.store(); }
  // Collective, as whole_parameters.h says.
  std::vector<Tensor> whole_weights();
  std::vector<Tensor> whole_gradients();
  const LanguageModel& model() const { return trainable_.model(); }
  const Parametrization& parametrization() const { return trainable_.parametrization(); }

 private:
  bool forward_backward(std::int64_t first_row, const std::function<bool()>& stop, std::string& failure);
  bool go_on(const std::string& failure, bool stop) const;
  void check_divergence(const TrainStep& bad) const;
  StepSums agree(const std::string& failure);
  const ProcessGroup& passes_together() const;
  std::int64_t rows_per_rank() const;
  std::int64_t micro_batch() const;
  CheckpointContext checkpoint_context();

  RunConfig config_;
  Mesh mesh_;
  TrainableModel trainable_;
  StepTimer timer_;
  TrainingData data_;
  BatchSource batches_;
  TrainingState state_;
  std::vector<std::string> allowed_;
  CheckpointWriter writer_;
};

}  // namespace mudelta
