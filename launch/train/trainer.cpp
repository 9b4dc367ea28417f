#include "launch/train/trainer.h"

#include <algorithm>

#include "core/profile_range.h"
#include "launch/train/initial_weights.h"
#include "launch/train/scaling.h"
#include "launch/train/whole_parameters.h"

namespace mudelta {
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

TrainStep Trainer::step() {
  TrainStep result;
  result.lr = learning_rate_of(config_, state_.step());
  const auto sent_before = mesh_.world().traffic().tensor_bytes_by_group();
  timer_.start_step();
  trainable_.begin_step();
  const std::string failure = failure_of([&] { forward_backward(); });
  const ProfileRange range("end of the step");
  trainable_.reduce();  // after a failure, too: other ranks wait for it
  timer_.end(&StepSeconds::communication);
  const StepSums sums = agree(failure);
  const StepReport report = trainable_.update(sums.squares, result.lr, config_.train().grad_clip());
  result.loss = sums.losses / static_cast<double>(tokens_per_step());
  result.gradient_norm = report.gradient_norm;
  result.skipped = report.skipped;
  result.clipped = report.clipped;
  timer_.end_step(&StepSeconds::update);
  result.bytes_sent = mesh_.world().traffic().tensor_bytes_by_group();
  for (const auto& [group, bytes] : sent_before) result.bytes_sent[group] -= bytes;
  std::erase_if(result.bytes_sent, [](const auto& entry) { return entry.second == 0; });

  state_.set_step(state_.step() + 1);
  state_.set_tokens(state_.tokens() + tokens_per_step());
  data_.advance_to(state_.step() * config_.train().global_batch());
  state_.set_skipped_in_a_row(report.skipped ? state_.skipped_in_a_row() + 1 : 0);
  result.step = state_.step();
  result.sources = data_.progress();
  if (result.step == 1) state_.set_first_loss(result.loss);
  if (config_.train().norms_every() > 0 && result.step % config_.train().norms_every() == 0) {
    result.norms =
        role_norms(trainable_.store(), trainable_.optimizer().segments(), mesh_.world(), trainable_.stream());
  }
  if (state_.skipped_in_a_row() >= config_.train().max_skipped_steps()) {
    throw Divergence(
        fmt::format("training diverged: {} steps in a row, up to step {}, had a loss or gradient that is not finite "
                    "(loss {}, gradient norm {}); lower the learning rate ({})",
                    state_.skipped_in_a_row(), result.step, result.loss, result.gradient_norm, result.lr),
        result);
  }
  return result;
}

// What the ranks tell each other in a step, all at once: their parts of its sums, and whether they failed.
StepSums Trainer::agree(const std::string& failure) {
  const StepSums own = trainable_.sums();
  const std::vector<double> all =
      mesh_.world().all_reduce({own.squares, own.losses, failure.empty() ? 0.0 : 1.0}, ReduceOp::kSum);
  if (all[2] > 0) fail_together(mesh_.world(), failure);
  return {.squares = all[0], .losses = all[1]};
}

// Queues the step's work up to the gradients, which are reduced as the last pass finishes them.
void Trainer::forward_backward() {
  const ProfileRange range("forward and backward");
  const std::int64_t share = rows_per_rank(), micro = micro_batch();
  const std::int64_t first = state_.step() * config_.train().global_batch() + mesh_.data().rank() * share;
  for (std::int64_t row = 0; row < share; row += micro) {
    Batch input;
    const auto load = [&] { input = batches_.rows(first + row, std::min(micro, share - row)); };
    // Some ranks communicate in a pass: none of them begins it alone.
    passes_together().size() > 1 ? run_or_fail_together(passes_together(), load) : load();
    timer_.end(&StepSeconds::data);
    row + micro < share ? trainable_.add(input) : trainable_.add_last(input);
    timer_.end(&StepSeconds::forward_backward);
  }
  batches_.fetch_ahead(first + config_.train().global_batch(), std::min(micro, share));
  timer_.end(&StepSeconds::data);
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
  run_or_fail_together(mesh_.world(), [&] {
    data_.resume(checkpoint.string(), reader.manifest(), state_.step() * config_.train().global_batch());
  });
  return reader.manifest().config();
}

CheckpointContext Trainer::checkpoint_context() {
  return {config_,
          trainable_.store(),
          parametrization().scaling(),
          parametrization().forward_multipliers(),
          data_.is_blend() ? nullptr : &data_.info(),
          &data_.tokenizer()};
}

}  // namespace mudelta
