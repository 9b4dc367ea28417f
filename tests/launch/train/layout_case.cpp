#include "tests/launch/train/layout_case.h"

#include <algorithm>

#include "core/rng.h"
#include "launch/config/run_config.h"
#include "model/config.h"

namespace mudelta::testing {
namespace {

class Draw {
 public:
  explicit Draw(std::uint64_t seed) : engine_(seed) {}

  std::int64_t of(std::int64_t lowest, std::int64_t highest) {
    return lowest + static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(highest - lowest + 1));
  }
  bool coin() { return of(0, 1) == 1; }
  template <class T>
  T one_of(const std::vector<T>& choices) {
    return choices[static_cast<std::size_t>(of(0, static_cast<std::int64_t>(choices.size()) - 1))];
  }

 private:
  std::mt19937_64 engine_;
};

struct Groups {
  int context, tensor;
};

// Every way to cut `num_ranks` into data, context and tensor ranks.
std::vector<Groups> all_groups(int num_ranks) {
  std::vector<Groups> found;
  for (int context = 1; context <= num_ranks; ++context) {
    for (int tensor = 1; context * tensor <= num_ranks; ++tensor) {
      if (num_ranks % (context * tensor) == 0) found.push_back({context, tensor});
    }
  }
  return found;
}

std::vector<int> divisors(int number) {
  std::vector<int> found;
  for (int i = 1; i <= number; ++i) {
    if (number % i == 0) found.push_back(i);
  }
  return found;
}

// Heads that `tensor` ranks can share, fewer key heads than ranks among them.
void draw_model(Draw& draw, int tensor, ModelConfig& model) {
  const auto heads = draw.coin() ? tensor * draw.of(1, 2) : draw.one_of(divisors(tensor));
  std::int64_t value_heads = heads * draw.of(1, 4);
  while (value_heads % tensor != 0) value_heads += heads;
  model.set_width(draw.of(5, 20));
  model.set_layers(static_cast<std::int32_t>(draw.of(1, 2)));
  model.set_heads(heads);
  model.set_value_heads(value_heads);
  model.set_head_dim(draw.of(3, 9));
  model.set_expand_v(draw.of(1, 2));
  model.set_conv_size(draw.of(1, 4));
  model.set_mlp_size(draw.of(tensor, 25));
  model.set_vocab_size(draw.of(tensor + 3, 40));
  model.set_tie_embeddings(draw.coin());
  model.set_recompute(
      draw.one_of<ModelConfig::Recompute>({ModelConfig::NONE, ModelConfig::FULL, ModelConfig::SELECTIVE}));
  // Far from where gates are shut, gradients small and norms of short vectors blow up rounding.
  model.set_init_std(0.3);
  model.set_conv_init_std(0.5);
  model.set_norm_eps(1e-2);
}

void draw_optimizer(Draw& draw, OptimizerConfig& optimizer) {
  if (draw.coin()) {
    optimizer.mutable_adamw()->set_lr(3e-3);
    optimizer.mutable_adamw()->set_eps(1e-4);  // smaller ones make the sign of what is almost 0 count
    return;
  }
  optimizer.mutable_sgd()->set_lr(0.05);
  optimizer.mutable_sgd()->set_weight_decay(0.1);
  optimizer.set_clip_rule(draw.coin() ? OptimizerConfig::GLOBAL_NORM : OptimizerConfig::WEIGHTED_NORM);
}

}  // namespace

std::string LayoutCase::to_string() const {
  return config.parallel().ShortDebugString() + " | " + config.model().ShortDebugString() + " | " +
         config.train().ShortDebugString() + " | " + config.optimizer().ShortDebugString() + " | " +
         config.parametrization().ShortDebugString();
}

LayoutCase draw_layout(std::uint64_t seed, int num_ranks) {
  Draw draw(seed);
  RunConfig config;
  const auto [context, tensor] = draw.one_of(all_groups(num_ranks));
  const int data = num_ranks / tensor / context;
  config.mutable_parallel()->set_tensor(tensor);
  config.mutable_parallel()->set_context(context);
  config.mutable_parallel()->set_bucket_mib(draw.coin() ? 25 : 1e-3);
  const bool cuts_rows = draw.coin();
  config.mutable_parallel()->set_sequence_parallel(cuts_rows);
  draw_model(draw, tensor, *config.mutable_model());
  TrainConfig& train = *config.mutable_train();
  // Parts of rows that are shorter than a convolution, and those that are not.
  const int step = context * (cuts_rows ? tensor : 1);
  train.set_sequence_length(step * draw.of(step > 1 ? 1 : 3, std::max(40 / step, 4)));
  const std::int64_t micro_batches = draw.of(1, 2), micro_batch = draw.of(1, 2);
  train.set_micro_batch(micro_batch);
  train.set_global_batch(data * micro_batches * micro_batch);
  train.set_grad_clip(draw.coin() ? 1.0 : 0.1);
  train.set_seed(seed);
  draw_optimizer(draw, *config.mutable_optimizer());
  config.mutable_parametrization()->set_kind(ParametrizationConfig::GDN_MUP);
  config.mutable_parametrization()->set_base_width(config.model().width());
  if (draw.coin()) {
    config.mutable_parametrization()->set_base_layers(1);
    config.mutable_parametrization()->set_depth_exponent(1);
  }
  *config.mutable_model() = resolve(config.model());
  config.mutable_parallel()->set_zero_stage(static_cast<int>(draw.of(0, 3)));
  return {with_defaults(config)};
}

Batch text_rows(const RunConfig& config, std::uint64_t seed, std::int64_t first, std::int64_t count, int part) {
  const std::int64_t row_length = config.train().sequence_length(), vocab = config.model().vocab_size();
  const std::int64_t length = row_length / config.parallel().context();
  const CounterRng rng(seed, "text"), of_rows(seed, "rows");
  const auto random = [&](std::int64_t at) { return rng.bits(static_cast<std::uint64_t>(at)); };
  const auto token = [&](std::int64_t at) {
    return static_cast<std::int32_t>(random(at) % static_cast<std::uint64_t>(vocab));
  };
  std::vector<std::int32_t> tokens, targets, starts, edges;
  for (std::int64_t row = first; row < first + count; ++row) {
    // Documents of a token each, of 4 or 16 on average, or one that is longer than the row.
    const auto kind = of_rows.bits(static_cast<std::uint64_t>(row)) % 4;
    const std::uint64_t mask = kind == 0 ? 0 : kind == 1 ? 3 : 15;
    const std::int64_t row_begin = row * row_length, begin = row_begin + part * length;
    const auto starts_document = [&](std::int64_t at) {
      return at == row_begin || (kind != 3 && (random(at) >> 40 & mask) == 0);
    };
    std::int64_t document_begin = begin;
    while (!starts_document(document_begin)) --document_begin;
    edges.push_back(static_cast<std::int32_t>(starts.size()));
    for (std::int64_t at = begin; at < begin + length; ++at) {
      if (at == begin || starts_document(at)) starts.push_back(static_cast<std::int32_t>(tokens.size()));
      tokens.push_back(token(at));
      targets.push_back(random(at) >> 32 & 7 ? token(at + 1) : -1);
    }
    edges.insert(edges.end(),
                 {static_cast<std::int32_t>(starts.size()) - 1, static_cast<std::int32_t>(begin - document_begin)});
  }
  const auto size = static_cast<std::int64_t>(tokens.size());
  starts.push_back(static_cast<std::int32_t>(size));
  return {Tensor::from(tokens, {size}), Tensor::from(targets, {size}),
          Tensor::from(starts, {static_cast<std::int64_t>(starts.size())}),
          config.parallel().context() > 1 ? Tensor::from(edges, {count, 3}) : Tensor()};
}

}  // namespace mudelta::testing
