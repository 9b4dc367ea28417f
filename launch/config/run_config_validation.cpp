#include "launch/config/run_config_validation.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/require_range.h"
#include "core/shape.h"
#include "data/config_validation.h"
#include "dist/mesh.h"
#include "model/config.h"
#include "optim/optimizer_kind.h"
#include "optim/schedule.h"

namespace mudelta {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr std::int64_t kMaxTokens = std::numeric_limits<std::int32_t>::max();  // of a batch: the kernels count in int32

// Every number that is given anywhere in `message`, found at `path`.
void require_finite_numbers(const Message& message, const std::string& path) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string field_path = path.empty() ? field->name() : path + "." + field->name();
    if (field->message_type() != nullptr && field->is_repeated()) {
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        require_finite_numbers(reflection.GetRepeatedMessage(message, field, i), fmt::format("{}[{}]", field_path, i));
      }
    } else if (field->message_type() != nullptr) {
      require_finite_numbers(reflection.GetMessage(message, field), field_path);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
      const double value = reflection.GetDouble(message, field);
      require(std::isfinite(value), "{} is {}: expected a finite number", field_path, value);
    }
  }
}

void validate_train(const TrainConfig& train) {
  require_at_least("train.steps", train.steps(), 1);
  require_at_least("train.global_batch", train.global_batch(), 1);
  if (train.has_micro_batch()) require_at_least("train.micro_batch", train.micro_batch(), 1);
  require_at_least("train.sequence_length", train.sequence_length(), 1);
  require_at_least("train.eval_every", train.eval_every(), 0);
  require_at_least("train.eval_sequences", train.eval_sequences(), 0);
  require_not_negative("train.grad_clip", train.grad_clip());
  require_at_least("train.log_every", train.log_every(), 1);
  require_at_least("train.norms_every", train.norms_every(), 0);
  require_not_negative("train.spike_threshold", train.spike_threshold());
  require_at_least("train.spike_window", train.spike_window(), 8);
  require(train.spike_window() <= 4096, "train.spike_window is {}: expected at most 4096", train.spike_window());
  require_at_least("train.rank_times_every", train.rank_times_every(), 0);
  require_at_least("train.max_skipped_steps", train.max_skipped_steps(), 1);
  require_at_least("train.max_rollbacks", train.max_rollbacks(), 0);
  require_at_least("train.check_replicas_every", train.check_replicas_every(), 0);
}

void validate_replica_check(const TrainConfig& train, const ParallelConfig& parallel) {
  require(
      train.check_replicas_every() == 0 || parallel.zero_stage() < 3,
      "train.check_replicas_every is {}: expected 0 with parallel.zero_stage 3, by which no two ranks hold the same "
      "weights",
      train.check_replicas_every());
}

void validate_cuda_graph(const TrainConfig& train, const ParallelConfig& parallel) {
  require(!train.cuda_graph() || train.device() != TrainConfig::CPU,
          "train.cuda_graph is true: expected train.device AUTO or CUDA, got CPU");
  require(!train.cuda_graph() || parallel.tensor() == 1,
          "train.cuda_graph is true: not yet possible with parallel.tensor above 1, which is {}", parallel.tensor());
  require(!train.cuda_graph() || parallel.context() == 1,
          "train.cuda_graph is true: not yet possible with parallel.context above 1, which is {}", parallel.context());
  require(
      !train.cuda_graph() || parallel.zero_stage() < 2,
      "train.cuda_graph is true: expected parallel.zero_stage 0 or 1, got {}, which moves weights or gradients from "
      "step to step",
      parallel.zero_stage());
}

// "36 or 40", "4": the multiples of `step` next to a number that is none.
std::string nearest_multiples(std::int64_t number, std::int64_t step) {
  const std::int64_t below = number / step * step;
  return below == 0 ? std::to_string(step) : fmt::format("{} or {}", below, below + step);
}

// Every context rank has as many tokens of a sequence, which tensor ranks may cut further.
void validate_sequence_length(std::int64_t length, const ParallelConfig& parallel) {
  require(length % parallel.context() == 0,
          "train.sequence_length is {}: expected a multiple of parallel.context, {}: {}", length, parallel.context(),
          nearest_multiples(length, parallel.context()));
  if (!sequence_parallel(parallel)) return;
  const std::int64_t step = std::int64_t{parallel.context()} * parallel.tensor();
  require(length % step == 0,
          "train.sequence_length is {}: expected a multiple of parallel.tensor {} x parallel.context {}: {}; or "
          "parallel.sequence_parallel false",
          length, parallel.tensor(), parallel.context(), nearest_multiples(length, step));
}

// How a step's sequences are shared out.
void validate_batch(const TrainConfig& train, const ParallelConfig& parallel, int world_size) {
  const std::int64_t data_ranks = mesh_sizes(world_size, parallel).data;
  validate_sequence_length(train.sequence_length(), parallel);
  require(train.global_batch() % data_ranks == 0, "train.global_batch is {}: expected a multiple of the {} data ranks",
          train.global_batch(), data_ranks);
  const std::int64_t share = train.global_batch() / data_ranks;
  require(!train.has_micro_batch() || train.micro_batch() >= share || share % train.micro_batch() == 0,
          "train.micro_batch is {}: expected a divisor of the {} sequences that each of the {} data ranks has per step",
          train.micro_batch(), share, data_ranks);
  const std::int64_t micro_batch = train.has_micro_batch() ? std::min(train.micro_batch(), share) : share;
  require(micro_batch <= kMaxTokens / (train.sequence_length() / parallel.context()),
          "{} is {}: with train.sequence_length {}, {} sequences at a time on a rank are more than {} tokens{}",
          train.has_micro_batch() ? "train.micro_batch" : "train.global_batch",
          train.has_micro_batch() ? train.micro_batch() : train.global_batch(), train.sequence_length(), micro_batch,
          kMaxTokens, train.has_micro_batch() ? "" : "; give a train.micro_batch");
}

// Tokens of the whole run, which its counters and the data order must hold.
void validate_horizon(const TrainConfig& train) {
  try {
    product_of({train.steps(), train.global_batch(), train.sequence_length()});
  } catch (const Error& error) {
    fail("train.steps x train.global_batch x train.sequence_length: {}", error.what());
  }
}

// The base is a model, too.
void validate_base(const ParametrizationConfig& parametrization) {
  const auto require_size = [](std::string_view field, bool given, std::int64_t value) {
    if (!given) return;
    require_at_least(field, value, 1);
    require(value <= kMaxModelSize, "{} is {}: expected at most {}", field, value, kMaxModelSize);
  };
  require_size("parametrization.base_width", parametrization.has_base_width(), parametrization.base_width());
  require_size("parametrization.base_heads", parametrization.has_base_heads(), parametrization.base_heads());
  require_size("parametrization.base_value_heads", parametrization.has_base_value_heads(),
               parametrization.base_value_heads());
  require_size("parametrization.base_head_dim", parametrization.has_base_head_dim(), parametrization.base_head_dim());
  require_size("parametrization.base_mlp_size", parametrization.has_base_mlp_size(), parametrization.base_mlp_size());
  require_size("parametrization.base_layers", parametrization.has_base_layers(), parametrization.base_layers());
  const double exponent = parametrization.depth_exponent();
  require(!parametrization.has_depth_exponent() || (exponent >= 0.5 && exponent <= 1),
          "parametrization.depth_exponent is {}: expected 0.5 to 1", exponent);
}

}  // namespace

void validate(const RunConfig& config, int world_size) {
  require_finite_numbers(config, "");
  validate(config.data());
  validate_train(config.train());
  validate_replica_check(config.train(), config.parallel());
  validate_cuda_graph(config.train(), config.parallel());
  validate(config.parallel());
  validate_batch(config.train(), config.parallel(), world_size);
  validate_horizon(config.train());
  validate(config.optimizer());
  validate(config.schedule(), config.train().steps());
  validate_base(config.parametrization());
  require_at_least("checkpoint.every_steps", config.checkpoint().every_steps(), 0);
  require_not_negative("checkpoint.every_minutes", config.checkpoint().every_minutes());
  require_at_least("checkpoint.keep", config.checkpoint().keep(), 0);
  require_at_least("checkpoint.keep_every", config.checkpoint().keep_every(), 0);
}

}  // namespace mudelta
