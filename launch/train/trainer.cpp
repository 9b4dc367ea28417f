#include "launch/train/trainer.h"

#include <algorithm>
#include <bit>

#include "core/profile_range.h"
#include "kernels/reduce.h"
#include "launch/train/scaling.h"
#include "optim/initialization.h"

namespace mudelta {
namespace {

std::int64_t micro_batch(const RunConfig& config, std::int64_t share) {
  return config.train().has_micro_batch() ? std::min(config.train().micro_batch(), share) : share;
}

// The batch with empty sequences after its own, up to a power of two: so batches have few different shapes.
Batch with_empty_sequences(Batch batch) {
  const auto ends = batch.cu_seqlens.span<std::int32_t>();
  const auto sequences = static_cast<std::int64_t>(std::bit_ceil(ends.size() - 1));
  const Tensor padded = Tensor::empty({sequences + 1}, DType::kInt32);
  const auto after = std::ranges::copy(ends, padded.data<std::int32_t>()).out;
  std::fill(after, padded.data<std::int32_t>() + padded.numel(), ends.back());
  batch.cu_seqlens = padded;
  return batch;
}

}  // namespace

Trainer::Trainer(const RunConfig& config, const Mesh& mesh, Device device)
    : config_(config),
      mesh_(mesh),
      stream_(device),
      timer_(stream_),
      parametrization_(make_parametrization(config)),
      stored_(config, parametrization_.logit_multiplier(), device, mesh.data().size()),
      train_data_(config.data().path(), Split::kTrain),
      validation_data_(config.data().path(), Split::kValidation),
      loader_(train_data_, {.sequence_length = config.train().sequence_length(),
                            .seed = config.train().seed(),
                            .shuffle = config.data().shuffle(),
                            .reset_at_documents = config.data().reset_at_documents()}),
      upload_(device, config.model().vocab_size()),
      loss_sum_(Tensor::zeros({1}, DType::kFloat64, device)),
      host_loss_sum_(device.is_cuda() ? Tensor::zeros({1}, DType::kFloat64, {DeviceType::kPinned}) : loss_sum_) {
  require(device.is_cuda() || !config_.train().cuda_graph(),
          "train.cuda_graph is true: expected a GPU, but the device is {}", device.to_string());
  if (config_.train().cuda_graph()) graph_ = std::make_unique<Graph>(stream_);
  // An evaluation must not be the first to find the split too short.
  const Loader validation_rows(validation_data_, {.sequence_length = config.train().sequence_length()});
  const auto bucket_bytes = static_cast<std::int64_t>(config_.parallel().bucket_mib() * 1024 * 1024);
  buckets_ = std::make_unique<GradientBuckets>(stored_.store, mesh_.data(), bucket_bytes);
  optimizer_ = std::make_unique<Optimizer>(config_.optimizer(), stored_.store, *buckets_, parametrization_.scaling(),
                                           mesh_.data());
  initialize(stored_.store, *optimizer_, parametrization_, config_.train().seed());
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
  timer_.start_step();
  stored_.store.zero_gradients();
  forward_backward();
  buckets_->reduce_scatter_gradients(stream_);
  timer_.end(&StepSeconds::communication);
  if (stream_.device().is_cuda()) host_loss_sum_.queue_copy_from(loss_sum_);  // the optimizer waits for what follows it
  const StepReport report = optimizer_->step(result.lr, config_.train().grad_clip(), stream_);
  const double loss_sum = host_loss_sum_.span<double>()[0];
  result.loss = mesh_.data().all_reduce(loss_sum, ReduceOp::kSum) / static_cast<double>(tokens_per_step());
  result.gradient_norm = report.gradient_norm;
  result.skipped = report.skipped;
  result.clipped = report.clipped;
  timer_.end(&StepSeconds::update);

  state_.set_step(state_.step() + 1);
  state_.set_tokens(state_.tokens() + tokens_per_step());
  state_.set_skipped_in_a_row(report.skipped ? state_.skipped_in_a_row() + 1 : 0);
  result.step = state_.step();
  if (result.step == 1) state_.set_first_loss(result.loss);
  if (config_.train().norms_every() > 0 && result.step % config_.train().norms_every() == 0) {
    result.norms = role_norms(stored_.store, optimizer_->segments(), mesh_.data(), stream_);
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

// Queues the step's work up to the local gradients; buckets are reduced as the last pass finishes them.
void Trainer::forward_backward() {
  const ProfileRange range("forward and backward");
  const std::int64_t share = config_.train().global_batch() / mesh_.data().size();
  const std::int64_t first = state_.step() * config_.train().global_batch() + mesh_.data().rank() * share;
  const std::int64_t micro = micro_batch(config_, share);
  loss_sum_.fill_zero();
  Batch input;
  // The last pass communicates: what can fail on one rank alone stands before it.
  run_or_fail_together(mesh_.data(), [&] {
    for (std::int64_t row = 0; row < share; row += micro) {
      if (row > 0) pass(input, {});
      timer_.end(&StepSeconds::forward_backward);
      input = batch(first + row, std::min(micro, share - row));
      timer_.end(&StepSeconds::data);
    }
  });
  pass(input, [&](std::size_t parameter) { buckets_->reduce_scatter_final(parameter, stream_); });
  timer_.end(&StepSeconds::forward_backward);
  if (stream_.device().is_cuda()) upload_ahead(first + config_.train().global_batch(), std::min(micro, share));
  timer_.end(&StepSeconds::data);
}

void Trainer::pass(const Batch& input, const GradientsFinal& final) {
  graph_ ? repeat_pass(input) : run_pass(input, final);
}

// Adds a micro-batch's gradients and losses to those of the step.
void Trainer::run_pass(const Batch& input, const GradientsFinal& final) {
  const double scale = 1.0 / static_cast<double>(tokens_per_step());
  const Tensor losses =
      stored_.model.losses_and_gradients({input.tokens, input.cu_seqlens}, input.targets, scale, stream_, final);
  kernels::add_sum(losses, loss_sum_, stream_);
}

// The same by a graph. Its recordings, one for each number of sequences, always read their input in the same place.
void Trainer::repeat_pass(const Batch& input) {
  const std::int64_t sequences = input.cu_seqlens.size(0) - 1;
  Batch& recorded = graph_inputs_[sequences];
  if (!recorded.tokens) {
    recorded = {input.tokens.clone(), input.targets.clone(), input.cu_seqlens.clone()};
  } else {
    recorded.tokens.copy_from(input.tokens);
    recorded.targets.copy_from(input.targets);
    recorded.cu_seqlens.copy_from(input.cu_seqlens);
  }
  graph_->run([&] { run_pass(recorded, {}); }, sequences);
}

// Rows [first, first + count) on the device.
Batch Trainer::load(std::int64_t first, std::int64_t count) {
  const Batch rows = loader_.batch(first, count);
  return upload_(graph_ ? with_empty_sequences(rows) : rows);
}

Batch Trainer::batch(std::int64_t first, std::int64_t count) {
  if (!uploaded_ || uploaded_->first != first) return load(first, count);
  const Batch ready = uploaded_->second;
  uploaded_.reset();
  return ready;
}

// While a GPU works, the host fetches what comes next.
void Trainer::upload_ahead(std::int64_t first, std::int64_t count) {
  try {
    uploaded_ = {first, load(first, count)};
  } catch (const Error&) {  // the next step meets it again, where all ranks can hear of it
    uploaded_.reset();
  }
}

std::optional<Evaluation> Trainer::evaluate(const std::function<bool()>& stop) const {
  const std::int64_t share = config_.train().global_batch() / mesh_.data().size();
  return mudelta::evaluate(stored_.model, validation_data_,
                           {.sequence_length = config_.train().sequence_length(),
                            .micro_batch = micro_batch(config_, share),
                            .max_sequences = config_.train().eval_sequences(),
                            .reset_at_documents = config_.data().reset_at_documents(),
                            .stop = stop},
                           mesh_.data(), stream_);
}

void Trainer::save(const std::filesystem::path& run_dir) {
  save_checkpoint(run_dir, checkpoint_context(), state_, *optimizer_, mesh_.data());
}

RunConfig Trainer::load(const std::filesystem::path& checkpoint) {
  const CheckpointReader reader(checkpoint);
  state_ = load_checkpoint(reader, checkpoint_context(), *optimizer_, mesh_.data(), stream_);
  return reader.manifest().config();
}

CheckpointContext Trainer::checkpoint_context() {
  return {config_, stored_.store, parametrization_.scaling(), parametrization_.logit_multiplier(), &train_data_.info()};
}

}  // namespace mudelta
