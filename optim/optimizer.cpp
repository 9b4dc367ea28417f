#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <ranges>

#include "core/error.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer_update.h"
#include "kernels/reduce.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

constexpr double kClipEps = 1e-6;  // as in PyTorch's clip_grad_norm_

// A float32 parameter is its own master; another dtype gets a copy.
Tensor master_of(const Tensor& value) {
  if (value.dtype() == DType::kFloat32) return value;
  const Tensor master = Tensor::empty(value.shape(), DType::kFloat32, value.device());
  kernels::convert(value, master, Stream(value.device()));
  return master;
}

// The parts of the shard that parameters take up: padding falls between them.
std::vector<OptimizerSegment> segments_of(const FlatGroup& group, const Shard& shard) {
  const Tensor master = master_of(shard.values);
  std::vector<OptimizerSegment> segments;
  for (const FlatGroup::Entry& entry : group.entries) {
    const std::int64_t begin = std::max(shard.range.begin, entry.begin);
    const std::int64_t end = std::min(shard.range.end, entry.begin + entry.numel);
    if (begin >= end) continue;
    const auto own = [&](const Tensor& flat) { return flat.slice(begin - shard.range.begin, end - shard.range.begin); };
    segments.push_back({.parameter = entry.parameter,
                        .begin = begin - entry.begin,
                        .numel = end - begin,
                        .is_own = shard.is_own,
                        .value = own(shard.values),
                        .gradient = own(shard.gradients),
                        .state = {{"weight", own(master)}}});
  }
  return segments;
}

// Gives each segment the states of its name, zeros, from one tensor for the first of all, one for the second, ...
void add_states(std::span<OptimizerSegment> segments,
                const std::function<std::span<const std::string_view>(std::size_t parameter)>& names_of) {
  for (std::size_t state = 0;; ++state) {
    const auto has = [&](const OptimizerSegment& segment) { return state < names_of(segment.parameter).size(); };
    std::int64_t numel = 0;
    for (const OptimizerSegment& segment : segments | std::views::filter(has)) numel += segment.numel;
    if (numel == 0) return;
    const Tensor all = Tensor::zeros({numel}, DType::kFloat32, segments.front().value.device());
    std::int64_t begin = 0;
    for (OptimizerSegment& segment : segments | std::views::filter(has)) {
      segment.state.emplace_back(names_of(segment.parameter)[state], all.slice(begin, begin + segment.numel));
      begin += segment.numel;
    }
  }
}

// Rounds the segment's master into its value; a float32 value is the master itself.
void write_value(const OptimizerSegment& segment, Stream stream) {
  if (segment.value.dtype() != DType::kFloat32) kernels::convert(segment.state[0].second, segment.value, stream);
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
  for (const Shard& shard : shards_.shards()) {
    std::vector<OptimizerSegment> segments = segments_of(store_.groups()[shard.range.group], shard);
    add_states(segments, [&](std::size_t parameter) { return state_names(update_kind_of(parameter)); });
    std::ranges::move(segments, std::back_inserter(segments_));
    bucket_ends_.resize(shard.bucket + 1);
    bucket_ends_[shard.bucket] = segments_.size();
  }
  square_sum_ = Tensor::zeros({1}, DType::kFloat64, store_.device());
  if (kind_of(config_) == OptimizerKind::kMuon) owners_.emplace(config_.muon(), store_.parameters(), world_);
}

OptimizerKind Optimizer::update_kind_of(std::size_t parameter) const {
  return update_kind(kind_of(config_), store_.parameters()[parameter].spec.role);
}

StepReport Optimizer::step(double lr, double grad_clip, Stream stream) {
  return update(world_.all_reduce(square_sum(stream), ReduceOp::kSum), lr, grad_clip, stream);
}

double Optimizer::square_sum(Stream stream) {
  square_sum_.fill_zero();
  for (const OptimizerSegment& segment : segments_) {
    if (!segment.is_own) continue;
    const int copies = store_.parameters()[segment.parameter].part.copies;
    kernels::add_sum_of_squares(segment.gradient, scaling_[segment.parameter].clip / copies, square_sum_, stream);
  }
  return square_sum_.to(Device()).span<double>()[0];
}

StepReport Optimizer::update(double square_sum, double lr, double grad_clip, Stream stream) {
  const double norm = std::sqrt(square_sum);
  if (!std::isfinite(norm)) return {.gradient_norm = norm, .skipped = true};

  ++num_updates_;
  const double gradient_scale = clip_factor(norm, grad_clip);
  if (owners_) find_directions(gradient_scale, stream);
  std::size_t i = 0;
  for (std::size_t bucket = 0; bucket < bucket_ends_.size(); ++bucket) {
    for (; i < bucket_ends_[bucket]; ++i) {
      update_segment(segments_[i], lr, gradient_scale, stream);
      write_value(segments_[i], stream);
    }
    shards_.gather_bucket(bucket, stream);
  }
  shards_.gather_values(stream);
  return {.gradient_norm = norm, .clipped = gradient_scale < 1};
}

void Optimizer::find_directions(double gradient_scale, Stream stream) {
  const MuonConfig& muon = config_.muon();
  for (const OptimizerSegment& segment : segments_) {
    if (update_kind_of(segment.parameter) != OptimizerKind::kMuon) continue;
    kernels::momentum_update({.momentum_buffer = segment.state[1].second,
                              .gradient = segment.gradient,
                              .direction = segment.gradient,
                              .gradient_scale = static_cast<float>(gradient_scale),
                              .momentum = static_cast<float>(muon.momentum()),
                              .nesterov = muon.nesterov()},
                             stream);
  }
  owners_->orthogonalize_gradients(segments_, stream);
}

void Optimizer::update_segment(const OptimizerSegment& segment, double lr, double gradient_scale, Stream stream) {
  const ParameterScaling& scaling = scaling_[segment.parameter];
  const OptimizerKind update = update_kind_of(segment.parameter);
  const double own_lr = lr * (peak_lr(config_, update) / peak_lr(config_));
  const auto decay = static_cast<float>(own_lr * weight_decay(config_, update) * scaling.decay);
  switch (update) {
    case OptimizerKind::kAdamW: {
      const AdamWConfig& adamw = adamw_of(config_);
      const auto t = static_cast<double>(num_updates_);
      return kernels::adamw_update({.weight = segment.state[0].second,
                                    .exp_avg = segment.state[1].second,
                                    .exp_avg_sq = segment.state[2].second,
                                    .gradient = segment.gradient,
                                    .gradient_scale = static_cast<float>(gradient_scale),
                                    .lr = static_cast<float>(own_lr * scaling.lr),
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
                                  .gradient = segment.gradient,
                                  .gradient_scale = static_cast<float>(gradient_scale),
                                  .lr = static_cast<float>(own_lr * scaling.lr),
                                  .momentum = static_cast<float>(sgd.momentum()),
                                  .nesterov = sgd.nesterov(),
                                  .decay = decay},
                                 stream);
    }
    case OptimizerKind::kMuon: {
      const double scale = update_scale(config_.muon(), store_.parameters()[segment.parameter].spec);
      return kernels::direction_update({.weight = segment.state[0].second,
                                        .direction = segment.gradient,
                                        .lr = static_cast<float>(own_lr * scaling.lr * scale),
                                        .decay = decay},
                                       stream);
    }
  }
}

void Optimizer::state_loaded(std::int64_t num_updates, Stream stream) {
  num_updates_ = num_updates;
  for (const OptimizerSegment& segment : segments_) write_value(segment, stream);
  shards_.gather_values(stream);
}

}  // namespace mudelta
