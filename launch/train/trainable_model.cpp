#include "launch/train/trainable_model.h"

#include <vector>

#include "core/error.h"
#include "kernels/reduce.h"
#include "launch/train/scaling.h"
#include "optim/initialization.h"

namespace mudelta {
namespace {

std::int64_t bucket_bytes(const ParallelConfig& config) {
  return static_cast<std::int64_t>(config.bucket_mib() * 1024 * 1024);
}

}  // namespace

TrainableModel::TrainableModel(const RunConfig& config, const Mesh& mesh, Device device)
    : gradient_scale_(1.0 / static_cast<double>(config.train().global_batch() * config.train().sequence_length())),
      tensor_ranks_(mesh.tensor().size()),
      zero_stage_(mudelta::zero_stage(config.parallel(), mesh.gradients().size())),
      stream_(device),
      parametrization_(make_parametrization(config)),
      stored_(config, parametrization_.forward_multipliers(), whole_buffers(zero_stage_), device,
              mesh.gradients().size(), TensorGroup(mesh.tensor(), sequence_parallel(config.parallel())),
              ContextGroup(mesh.context())),
      shards_(stored_.store, mesh.gradients(), bucket_bytes(config.parallel()), mesh.tensor(), zero_stage_),
      optimizer_(config.optimizer(), stored_.store, shards_, parametrization_.scaling(), mesh.world()),
      loss_sum_(Tensor::zeros({1}, DType::kFloat64, device)),
      host_loss_sum_(device.is_cuda() ? Tensor::zeros({1}, DType::kFloat64, {DeviceType::kPinned}) : loss_sum_) {
  require(device.is_cuda() || !config.train().cuda_graph(),
          "train.cuda_graph is true: expected a GPU, but the device is {}", device.to_string());
  if (config.train().cuda_graph()) recorded_.emplace(stream_, [this](const Batch& batch) { pass(batch); });
  stored_.model.set_hooks(hooks());
  initialize(stored_.store, optimizer_, parametrization_, config.train().seed(), stream_);
}

void TrainableModel::begin_step() {
  shards_.zero_gradients();
  loss_sum_.fill_zero();
  is_last_ = false;
}

void TrainableModel::add(const Batch& batch) { recorded_ ? (*recorded_)(batch) : pass(batch); }

void TrainableModel::add_last(const Batch& batch) {
  if (recorded_) return (*recorded_)(batch);
  is_last_ = true;
  pass(batch);
}

void TrainableModel::reduce() { shards_.finish_gradients(stream_); }

StepSums TrainableModel::sums() {
  // The optimizer waits for what is queued after it.
  if (stream_.device().is_cuda()) host_loss_sum_.queue_copy_from(loss_sum_);
  const double squares = optimizer_.square_sum(stream_);
  return {.squares = squares, .losses = host_loss_sum_.span<double>()[0] / tensor_ranks_};
}

StepReport TrainableModel::update(double squares, double lr, double grad_clip) {
  return optimizer_.update(squares, lr, grad_clip, stream_);
}

// Values of the next place are gathered beside the work of the present one.
PassHooks TrainableModel::hooks() {
  const int head = stored_.model.config().layers() + 1;
  const bool tied = stored_.model.config().tie_embeddings();
  const auto units_of = [head, tied](int place) -> std::vector<int> {
    if (place == head && tied) return {head, 0};
    return {place};
  };
  using Units = std::vector<int>;
  return {.before_forward =
              [=, this](int place) {
                shards_.read_units(units_of(place), place < head ? units_of(place + 1) : Units(), stream_);
              },
          .before_backward =
              [=, this](int place) {
                shards_.read_units(place > 0 ? units_of(place) : Units(), place > 1 ? units_of(place - 1) : Units(),
                                   stream_);
                for (const int unit : units_of(place)) shards_.open_gradients(unit, stream_);
              },
          .gradients_final =
              [this](int unit) {
                if (is_last_ || zero_stage_ >= 2) shards_.gradients_final(unit, stream_);
              }};
}

void TrainableModel::pass(const Batch& batch) {
  const Tensor losses = stored_.model.losses_and_gradients({batch.tokens, batch.cu_seqlens, batch.edges}, batch.targets,
                                                           gradient_scale_, stream_);
  kernels::add_sum(losses, loss_sum_, stream_);
}

}  // namespace mudelta
