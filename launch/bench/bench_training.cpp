#include "launch/bench/bench_training.h"

#include <vector>

#include "core/rng.h"
#include "launch/job/stopwatch.h"
#include "launch/train/trainable_model.h"
#include "model/flops.h"

namespace mudelta {
namespace {

Batch random_text(std::int64_t sequences, std::int64_t length, std::int64_t vocab_size, Device device) {
  const CounterRng rng(1, "text");
  std::vector<std::int32_t> ids, starts;
  for (std::int64_t i = 0; i <= sequences * length; ++i) {
    ids.push_back(
        static_cast<std::int32_t>(rng.bits(static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(vocab_size)));
  }
  for (std::int64_t i = 0; i <= sequences; ++i) starts.push_back(static_cast<std::int32_t>(i * length));
  const Tensor all = Tensor::from(ids, {sequences * length + 1}).to(device);
  return {all.slice(0, sequences * length), all.slice(1, sequences * length + 1),
          Tensor::from(starts, {sequences + 1}).to(device)};
}

}  // namespace

TrainingSpeed measure_training(const RunConfig& config, Device device, double seconds) {
  const TrainConfig& train = config.train();
  TrainableModel trainable(config, Mesh(), device);
  const std::int64_t micro = train.has_micro_batch() ? train.micro_batch() : train.global_batch();
  const Batch text = random_text(micro, train.sequence_length(), config.model().vocab_size(), device);
  const double tokens = static_cast<double>(train.global_batch() * train.sequence_length());

  const auto step = [&] {
    trainable.begin_step();
    for (std::int64_t done = micro; done < train.global_batch(); done += micro) trainable.add(text);
    trainable.add_last(text);
    trainable.reduce();
    trainable.update(trainable.sums().squares, 1e-4, 1.0);
  };
  const double step_seconds = measure(step, seconds, trainable.stream()).median;
  return {.parameters = trainable.store().num_elements(),
          .flops_per_token = flops_per_token(config.model()).training(),
          .step_seconds = step_seconds,
          .tokens_per_second = tokens / step_seconds};
}

}  // namespace mudelta
