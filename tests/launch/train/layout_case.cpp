#include "tests/launch/train/layout_case.h"

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
         config.train().ShortDebugString() + " | " + config.optimizer().ShortDebugString();
}

LayoutCase draw_layout(std::uint64_t seed, int num_ranks) {
  Draw draw(seed);
  RunConfig config;
  const int tensor = draw.one_of(divisors(num_ranks)), data = num_ranks / tensor;
  config.mutable_parallel()->set_tensor(tensor);
  config.mutable_parallel()->set_bucket_mib(draw.coin() ? 25 : 1e-3);
  const bool cuts_rows = draw.coin();
  config.mutable_parallel()->set_sequence_parallel(cuts_rows);
  draw_model(draw, tensor, *config.mutable_model());
  TrainConfig& train = *config.mutable_train();
  train.set_sequence_length(cuts_rows ? tensor * draw.of(1, 12) : draw.of(3, 40));
  const std::int64_t micro_batches = draw.of(1, 2), micro_batch = draw.of(1, 2);
  train.set_micro_batch(micro_batch);
  train.set_global_batch(data * micro_batches * micro_batch);
  train.set_grad_clip(draw.coin() ? 1.0 : 0.1);
  train.set_seed(seed);
  draw_optimizer(draw, *config.mutable_optimizer());
  config.mutable_parametrization()->set_kind(ParametrizationConfig::GDN_MUP);
  config.mutable_parametrization()->set_base_width(config.model().width());
  *config.mutable_model() = resolve(config.model());
  return {with_defaults(config)};
}

Batch text_rows(const RunConfig& config, std::uint64_t seed, std::int64_t first, std::int64_t count) {
  const std::int64_t length = config.train().sequence_length(), vocab = config.model().vocab_size();
  const CounterRng rng(seed, "text");
  std::vector<std::int32_t> tokens, targets, ends = {0};
  const auto random = [&](std::int64_t at) { return rng.bits(static_cast<std::uint64_t>(at)); };
  for (std::int64_t i = first * length; i < (first + count) * length; ++i) {
    const auto token = [&](std::int64_t at) {
      return static_cast<std::int32_t>(random(at) % static_cast<std::uint64_t>(vocab));
    };
    tokens.push_back(token(i));
    targets.push_back(random(i) >> 32 & 7 ? token(i + 1) : -1);
    // Documents of all lengths, of one token too.
    const bool ends_here = (i + 1) % length == 0 || (random(i) >> 40 & 3) == 0;
    if (ends_here) ends.push_back(static_cast<std::int32_t>(tokens.size()));
  }
  const auto size = static_cast<std::int64_t>(tokens.size());
  return {Tensor::from(tokens, {size}), Tensor::from(targets, {size}),
          Tensor::from(ends, {static_cast<std::int64_t>(ends.size())})};
}

}  // namespace mudelta::testing
