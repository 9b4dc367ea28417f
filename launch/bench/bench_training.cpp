#include "launch/bench/bench_training.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "core/graph.h"
#include "core/rng.h"
#include "launch/job/stopwatch.h"
#include "launch/train/scaling.h"
#include "launch/train/stored_model.h"
#include "model/flops.h"
#include "optim/initialization.h"
#include "optim/optimizer.h"

namespace mudelta {
namespace {

constexpr std::int64_t kBucketBytes = 32 * 1024 * 1024;

struct RandomText {
  PackedTokens input;
  Tensor targets;
};

RandomText random_text(std::int64_t sequences, std::int64_t length, std::int64_t vocab_size, Device device) {
  const CounterRng rng(1, "text");
  std::vector<std::int32_t> ids, starts;
  for (std::int64_t i = 0; i <= sequences * length; ++i) {
    ids.push_back(
        static_cast<std::int32_t>(rng.bits(static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(vocab_size)));
  }
  for (std::int64_t i = 0; i <= sequences; ++i) starts.push_back(static_cast<std::int32_t>(i * length));
  const Tensor all = Tensor::from(ids, {sequences * length + 1}).to(device);
  return {{all.slice(0, sequences * length), Tensor::from(starts, {sequences + 1}).to(device)},
          all.slice(1, sequences * length + 1)};
}

}  // namespace

TrainingSpeed measure_training(const RunConfig& config, Device device, double seconds) {
  const TrainConfig& train = config.train();
  const Parametrization parametrization = make_parametrization(config);
  StoredModel stored(config, parametrization.logit_multiplier(), device);
  const Stream stream(device);
  GradientBuckets buckets(stored.store, ProcessGroup::single(), kBucketBytes);
  Optimizer optimizer(config.optimizer(), stored.store, buckets, parametrization.scaling(), ProcessGroup::single());
  initialize(stored.store, optimizer, parametrization, train.seed());
  const std::int64_t micro = train.has_micro_batch() ? train.micro_batch() : train.global_batch();
  const RandomText text = random_text(micro, train.sequence_length(), config.model().vocab_size(), device);
  const double tokens = static_cast<double>(train.global_batch() * train.sequence_length());

  const auto pass = [&] { stored.model.losses_and_gradients(text.input, text.targets, 1 / tokens, stream); };
  std::optional<Graph> graph;
  if (train.cuda_graph()) graph.emplace(stream);
  const auto step = [&] {
    stored.store.zero_gradients();
    for (std::int64_t done = 0; done < train.global_batch(); done += micro) graph ? graph->run(pass) : pass();
    buckets.reduce_scatter_gradients(stream);
    optimizer.step(1e-4, 1.0, stream);
  };
  const double step_seconds = measure(step, seconds, stream).median;
  return {.parameters = stored.store.num_elements(),
          .flops_per_token = flops_per_token(config.model()).training(),
          .step_seconds = step_seconds,
          .tokens_per_second = tokens / step_seconds};
}

}  // namespace mudelta
