#include "launch/train/trainer.h"

#include <algorithm>
#include <cmath>

#include "core/profile_range.h"
#include "dist/watchdog.h"
#include "launch/train/bad_steps.h"
#include "launch/train/initial_weights.h"
#include "launch/train/replica_check.h"
#include "launch/train/scaling.h"
#include "launch/train/training_rows.h"
#include "launch/train/whole_parameters.h"

namespace mudelta {
namespace {

bool due(std::int64_t every, std::int64_t step) { return every > 0 && step % every == 0; }

}  // namespace

Trainer::Trainer(const RunConfig& config, const Mesh& mesh, Device device)
    : config_(config),
      mesh_(mesh),
      trainable_(config, mesh, device),
      timer_(trainable_.stream(), mesh.world()),
      data_(config, mesh.context()),
      batches_([this](std::int64_t first, std::int64_t count) { return data_.rows(first, count); }, device,
               config.model().vocab_size(), config.train().cuda_graph()),
      writer_(mesh.world()) {
  state_.set_step(0);
  state_.set_tokens(0);
  state_.set_skipped_in_a_row(0);
}

std::int64_t Trainer::tokens_per_step() const {
  return config_.train().global_batch() * config_.train().sequence_length();
}

TrainStep Trainer::step() { return *step_unless({}); }

std::optional<TrainStep> Trainer::step_unless(const std::function<bool()>& stop) {
  note_step(state_.step() + 1);
  TrainStep result;
  result.lr = learning_rate_of(config_, state_.step());
  result.rows = next_rows(config_.train().global_batch(), state_);
  const auto sent_before = mesh_.world().traffic().tensor_bytes_by_group();
  timer_.start_step();
  trainable_.begin_step();
  std::string failure;
  if (!forward_backward(result.rows.begin(), stop, failure)) return std::nullopt;
  const ProfileRange range("end of the step");
  trainable_.reduce();  // after a failure, too: other ranks wait for it
  timer_.end(&StepSeconds::communication);
  const StepSums sums = agree(failure);
  if (due(config_.train().check_replicas_every(), state_.step() + 1)) {
    check_replicas(trainable_.store(), mesh_, state_.step() + 1);
  }
  result.loss = sums.losses / static_cast<double>(tokens_per_step());
  result.gradient_norm = std::sqrt(sums.squares);
  result.fault = fault_of_step(result.loss, result.gradient_norm, config_.train(), state_);
  result.skipped = !result.fault.empty();
  if (!result.skipped) {
    result.clipped = trainable_.update(sums.squares, result.lr, config_.train().grad_clip()).clipped;
    note_good_loss(result.loss, config_.train(), state_);
  }
  timer_.end_step(&StepSeconds::update);
  result.bytes_sent = mesh_.world().traffic().tensor_bytes_by_group();
  for (const auto& [group, bytes] : sent_before) result.bytes_sent[group] -= bytes;
  std::erase_if(result.bytes_sent, [](const auto& entry) { return entry.second == 0; });

  state_.set_step(state_.step() + 1);
  state_.set_tokens(state_.tokens() + tokens_per_step());
  data_.advance_to(result.rows.end());
  state_.set_skipped_in_a_row(result.skipped ? state_.skipped_in_a_row() + 1 : 0);
  result.step = state_.step();
  result.sources = data_.progress();
  if (result.step == 1) state_.set_first_loss(result.loss);
  if (due(config_.train().norms_every(), result.step)) {
    result.norms =
        role_norms(trainable_.store(), trainable_.optimizer().segments(), mesh_.world(), trainable_.stream());
  }
  if (result.skipped) check_divergence(result);
  return result;
}

void Trainer::check_divergence(const TrainStep& bad) const {
  const TrainConfig& train = config_.train();
  constexpr std::string_view kAdvice = "lower the learning rate";
  if (train.on_bad_step() == TrainConfig::ABORT) {
    throw Divergence(fmt::format("training diverged: step {} had {}, in {}; {} ({})", bad.step, bad.fault,
                                 to_string(bad.rows), kAdvice, bad.lr),
                     bad);
  }
  if (state_.skipped_in_a_row() >= train.max_skipped_steps()) {
    throw Divergence(fmt::format("training diverged: {} steps in a row were bad, up to step {}, which had {}; {} ({})",
                                 state_.skipped_in_a_row(), bad.step, bad.fault, kAdvice, bad.lr),
                     bad);
  }
}

void Trainer::roll_back(const std::filesystem::path& checkpoint, const TrainStep& bad) {
  if (state_.rollbacks() >= config_.train().max_rollbacks()) {
    throw Divergence(fmt::format("training diverged: step {} had {}, in {}, after {} rollbacks (train.max_rollbacks)",
                                 bad.step, bad.fault, to_string(bad.rows), state_.rollbacks()),
                     bad);
  }
  const TrainingState before = state_;
  load(checkpoint);
  leave_out(bad.rows, before, state_);
}

// What the ranks tell each other in a step, all at once: their parts of its sums, and whether they failed.
StepSums Trainer::agree(const std::string& failure) {
  const StepSums own = trainable_.sums();
  const std::vector<double> all =
      mesh_.world().all_reduce({own.squares, own.losses, failure.empty() ? 0.0 : 1.0}, ReduceOp::kSum);
  if (all[2] > 0) fail_together(mesh_.world(), failure);
  return {.squares = all[0], .losses = all[1]};
}

// Queues the step's work up to the gradients, which are reduced as the last pass finishes them. What goes wrong on this
// rank is a `failure`. False: the ranks have agreed to give the step up.
bool Trainer::forward_backward(std::int64_t first_row, const std::function<bool()>& stop, std::string& failure) {
  const ProfileRange range("forward and backward");
  const std::int64_t share = rows_per_rank(), micro = micro_batch();
  const std::int64_t first = first_row + mesh_.data().rank() * share;
  const auto pass = [&](std::int64_t row) {
    Batch input;
    const auto load = [&] { input = batches_.rows(first + row, std::min(micro, share - row)); };
    // Some ranks communicate in a pass: none of them begins it alone.
    passes_together().size() > 1 ? run_or_fail_together(passes_together(), load) : load();
    timer_.end(&StepSeconds::data);
    row + micro < share ? trainable_.add(input) : trainable_.add_last(input);
    timer_.end(&StepSeconds::forward_backward);
  };
  for (std::int64_t row = 0; row < share && failure.empty(); row += micro) {
    failure = failure_of([&] { pass(row); });
    if (stop && row + micro < share && !go_on(failure, stop())) return false;
  }
  batches_.fetch_ahead(first + config_.train().global_batch(), std::min(micro, share));
  timer_.end(&StepSeconds::data);
  return true;
}

// Between micro-batches: throws what any rank failed by; false if any is to stop.
bool Trainer::go_on(const std::string& failure, bool stop) const {
  constexpr double kGoOn = 0, kStop = 1, kFail = 2;
  const double wish = !failure.empty() ? kFail : stop ? kStop : kGoOn;
  const double agreed = mesh_.world().all_reduce(wish, ReduceOp::kMax);
  if (agreed == kFail) fail_together(mesh_.world(), failure);
  return agreed == kGoOn;
}

// The ranks that communicate in a pass.
const ProcessGroup& Trainer::passes_together() const {
  return trainable_.zero_stage() >= 2 ? mesh_.world() : mesh_.replica();
}

// Sequences of a step that this rank's part of the mesh sees.
std::int64_t Trainer::rows_per_rank() const { return config_.train().global_batch() / mesh_.data().size(); }

std::int64_t Trainer::micro_batch() const {
  return config_.train().has_micro_batch() ? std::min(config_.train().micro_batch(), rows_per_rank()) : rows_per_rank();
}

std::optional<Evaluation> Trainer::evaluate(const std::function<bool()>& stop) const {
  return data_.evaluate(trainable_.model(),
                        {.sequence_length = config_.train().sequence_length(),
                         .micro_batch = micro_batch(),
                         .max_sequences = config_.train().eval_sequences(),
                         .reset_at_documents = config_.data().reset_at_documents(),
                         .same_passes = trainable_.zero_stage() == 3,
                         .stop = stop},
                        mesh_, trainable_.stream());
}

std::vector<Tensor> Trainer::whole_weights() {
  return mudelta::whole_weights(trainable_.store(), trainable_.optimizer().segments(), mesh_.world());
}

std::vector<Tensor> Trainer::whole_gradients() {
  return mudelta::whole_gradients(trainable_.store(), trainable_.optimizer().segments(), mesh_.world());
}

void Trainer::start_from(const WeightSource& weights) {
  load_initial_weights(weights, parametrization().forward_multipliers(), trainable_.store(), trainable_.optimizer(),
                       mesh_.world(), trainable_.stream());
}

void Trainer::save(const std::filesystem::path& run_dir) {
  data_.describe(state_);
  save_checkpoint(run_dir, checkpoint_context(), state_, trainable_.optimizer(), mesh_.world());
}

void Trainer::reserve_save() { writer_.reserve(checkpoint_context(), trainable_.optimizer()); }

void Trainer::begin_save(const std::filesystem::path& run_dir) {
  data_.describe(state_);
  writer_.begin(run_dir, checkpoint_context(), state_, trainable_.optimizer());
}

void Trainer::finish_save(const std::filesystem::path& run_dir) { writer_.finish(run_dir); }

RunConfig Trainer::load(const std::filesystem::path& checkpoint) {
  const CheckpointReader reader(checkpoint);
  state_ = load_checkpoint(reader, checkpoint_context(), trainable_.optimizer(), mesh_.world(), trainable_.stream());
  RunConfig before = reader.manifest().config();
  keep_place(before.train(), config_.train(), state_);
  run_or_fail_together(mesh_.world(), [&] {
    const std::int64_t row = state_.step() * config_.train().global_batch() + state_.row_offset();
    data_.resume(checkpoint.string(), reader.manifest(), row);
  });
  return before;
}

CheckpointContext Trainer::checkpoint_context() {
  return {config_,
          trainable_.store(),
          parametrization().scaling(),
          parametrization().forward_multipliers(),
          data_.is_blend() ? nullptr : &data_.info(),
          &data_.tokenizer(),
          allowed_};
}

}  // namespace mudelta
