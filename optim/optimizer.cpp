#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer_update.h"
#include "kernels/reduce.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

constexpr double kClipEps = 1e-6;  // as in PyTorch's clip_grad_norm_

// Elements of the segment in one of its parameter's local tensors.
Tensor view_of(const OptimizerSegment& segment, const Tensor& local) {
  return local.flat_view(segment.begin, {segment.numel});
}

// A float32 parameter is its own master; another dtype gets a copy.
Tensor master_of(const Tensor& value) {
  if (value.dtype() == DType::kFloat32) return value;
  const Tensor master = Tensor::empty(value.shape(), DType::kFloat32, value.device());
  kernels::convert(value, master, Stream(value.device()));
  return master;
}

// The parts of `range` that parameters take up: padding falls between them.
std::vector<OptimizerSegment> segments_of(const FlatGroup& group, const FlatRange& range) {
  std::vector<OptimizerSegment> segments;
  for (const FlatGroup::Entry& entry : group.entries) {
    const std::int64_t begin = std::max(range.begin, entry.begin);
    const std::int64_t end = std::min(range.end, entry.begin + entry.numel);
    if (begin < end) segments.push_back({entry.parameter, begin - entry.begin, end - begin, {}});
  }
  return segments;
}

double clip_factor(double norm, double grad_clip) {
  return grad_clip > 0 ? std::min(1.0, grad_clip / (norm + kClipEps)) : 1.0;
}

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, ParameterStore& store, ParameterShards& shards,
                     std::vector<ParameterScaling> scaling, ProcessGroup world)
    : config_(config), store_(store), shards_(shards), scaling_(std::move(scaling)), world_(std::move(world)) {
  require(scaling_.size() == store_.parameters().size(), "[optimizer] {} scaling entries for {} parameters",
          scaling_.size(), store_.parameters().size());
  for (const FlatRange& range : shards_.owned()) {
    for (OptimizerSegment& segment : segments_of(store_.groups()[range.group], range)) {
      const Tensor value = view_of(segment, store_.parameters()[segment.parameter].value);
      segment.state.emplace_back("weight", master_of(value));
      for (const std::string_view name : state_names(kind_of(config_))) {
        segment.state.emplace_back(name, Tensor::zeros({segment.numel}, DType::kFloat32, value.device()));
      }
      segments_.push_back(std::move(segment));
    }
    bucket_ends_.push_back(segments_.size());
  }
  const Device device = store_.groups().empty() ? Device() : store_.groups()[0].values.device();
  square_sum_ = Tensor::zeros({1}, DType::kFloat64, device);
}

StepReport Optimizer::step(double lr, double grad_clip, Stream stream) {
  return update(world_.all_reduce(square_sum(stream), ReduceOp::kSum), lr, grad_clip, stream);
}

double Optimizer::square_sum(Stream stream) {
  square_sum_.fill_zero();
  for (const OptimizerSegment& segment : segments_) {
    const Parameter& parameter = store_.parameters()[segment.parameter];
    kernels::add_sum_of_squares(view_of(segment, parameter.gradient),
                                scaling_[segment.parameter].clip / parameter.part.copies, square_sum_, stream);
  }
  return square_sum_.to(Device()).span<double>()[0];
}

StepReport Optimizer::update(double square_sum, double lr, double grad_clip, Stream stream) {
  const double norm = std::sqrt(square_sum);
  if (!std::isfinite(norm)) return {.gradient_norm = norm, .skipped = true};

  ++num_updates_;
  const double gradient_scale = clip_factor(norm, grad_clip);
  std::size_t i = 0;
  for (std::size_t bucket = 0; bucket < bucket_ends_.size(); ++bucket) {
    for (; i < bucket_ends_[bucket]; ++i) {
      update_segment(segments_[i], lr, gradient_scale, stream);
      write_value(segments_[i], stream);
    }
    shards_.all_gather_bucket(bucket, stream);
  }
  shards_.all_gather_values(stream);
  return {.gradient_norm = norm, .clipped = gradient_scale < 1};
}

void Optimizer::update_segment(const OptimizerSegment& segment, double lr, double gradient_scale, Stream stream) {
  const Tensor gradient = view_of(segment, store_.parameters()[segment.parameter].gradient);
  const ParameterScaling& scaling = scaling_[segment.parameter];
  const auto decay = static_cast<float>(lr * weight_decay(config_) * scaling.decay);
  switch (kind_of(config_)) {
    case OptimizerKind::kAdamW: {
      const AdamWConfig& adamw = config_.adamw();
      const auto t = static_cast<double>(num_updates_);
      return kernels::adamw_update({.weight = segment.state[0].second,
                                    .exp_avg = segment.state[1].second,
                                    .exp_avg_sq = segment.state[2].second,
                                    .gradient = gradient,
                                    .gradient_scale = static_cast<float>(gradient_scale),
                                    .lr = static_cast<float>(lr * scaling.lr),
                                    .beta1 = static_cast<float>(adamw.beta1()),
                                    .beta2 = static_cast<float>(adamw.beta2()),
                                    .eps = static_cast<float>(adamw.eps() * scaling.eps),
                                    .decay = decay,
                                    .bias_correction1 = static_cast<float>(1 - std::pow(adamw.beta1(), t)),
                                    .bias_correction2 = static_cast<float>(1 - std::pow(adamw.beta2(), t))},
                                   stream);
    }
    case OptimizerKind::kSgd: {
      const SgdConfig& sgd = config_.sgd();
      return kernels::sgd_update({.weight = segment.state[0].second,
                                  .momentum_buffer = segment.state[1].second,
                                  .gradient = gradient,
                                  .gradient_scale = static_cast<float>(gradient_scale),
                                  .lr = static_cast<float>(lr * scaling.lr),
                                  .momentum = static_cast<float>(sgd.momentum()),
                                  .nesterov = sgd.nesterov(),
                                  .decay = decay},
                                 stream);
    }
  }
}

// Rounds the segment's master into the parameter's value; a float32 value is the master itself.
void Optimizer::write_value(const OptimizerSegment& segment, Stream stream) {
  const Tensor value = view_of(segment, store_.parameters()[segment.parameter].value);
  if (value.dtype() != DType::kFloat32) kernels::convert(segment.state[0].second, value, stream);
}

void Optimizer::state_loaded(std::int64_t num_updates, Stream stream) {
  num_updates_ = num_updates;
  for (const OptimizerSegment& segment : segments_) write_value(segment, stream);
  shards_.all_gather_values(stream);
}

}  // namespace mudelta
