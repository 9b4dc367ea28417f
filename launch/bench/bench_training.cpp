#include "launch/bench/bench_training.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "core/rng.h"
#include "launch/job/stopwatch.h"
#include "launch/train/step_timer.h"
#include "launch/train/trainable_model.h"
#include "model/flops.h"

namespace mudelta {
namespace {

// Of each sequence, `length` tokens; part number `part` of `parts`.
Batch random_text(std::int64_t sequences, std::int64_t length, int part, int parts, std::int64_t vocab_size,
                  Device device) {
  const CounterRng rng(1, "text");
  std::vector<std::int32_t> ids, starts, edges;
  for (std::int64_t i = 0; i <= sequences * length; ++i) {
    ids.push_back(
        static_cast<std::int32_t>(rng.bits(static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(vocab_size)));
  }
  for (std::int64_t i = 0; i <= sequences; ++i) starts.push_back(static_cast<std::int32_t>(i * length));
  for (std::int64_t i = 0; i < sequences; ++i) {
    const auto sequence = static_cast<std::int32_t>(i);
    edges.insert(edges.end(), {sequence, sequence, static_cast<std::int32_t>(part * length)});
  }
  const Tensor all = Tensor::from(ids, {sequences * length + 1}).to(device);
  return {all.slice(0, sequences * length), all.slice(1, sequences * length + 1),
          Tensor::from(starts, {sequences + 1}).to(device),
          parts > 1 ? Tensor::from(edges, {sequences, 3}).to(device) : Tensor()};
}

// As measure() does, but as many steps on every rank, each of which takes as long as on the slowest. `step` has been
// called before.
std::vector<double> measure_together(const std::function<void()>& step, double seconds, const ProcessGroup& world,
                                     Stream stream) {
  constexpr std::size_t kMinSteps = 3;
  std::vector<double> times;
  const Stopwatch whole;
  do {
    const Stopwatch stopwatch;
    step();
    stream.synchronize();
    times.push_back(world.all_reduce(stopwatch.seconds(), ReduceOp::kMax));
  } while (times.size() < kMinSteps || world.all_reduce(whole.seconds(), ReduceOp::kMax) < seconds);
  return times;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

TrainingSpeed measure_training(const RunConfig& config, const Mesh& mesh, Device device, double seconds) {
  const TrainConfig& train = config.train();
  const ProcessGroup& world = mesh.world();
  TrainableModel trainable(config, mesh, device);
  const std::int64_t share = train.global_batch() / mesh.data().size();
  const std::int64_t micro = train.has_micro_batch() ? std::min(train.micro_batch(), share) : share;
  const Batch text = random_text(micro, train.sequence_length() / mesh.context().size(), mesh.context().rank(),
                                 mesh.context().size(), config.model().vocab_size(), device);
  const double tokens = static_cast<double>(train.global_batch() * train.sequence_length());

  StepTimer timer(trainable.stream(), world);
  std::map<std::string, std::int64_t> sent_before;
  const auto step = [&] {
    sent_before = world.traffic().tensor_bytes_by_group();
    timer.start_step();
    trainable.begin_step();
    for (std::int64_t done = micro; done < share; done += micro) trainable.add(text);
    trainable.add_last(text);
    timer.end(&StepSeconds::forward_backward);
    trainable.reduce();
    timer.end(&StepSeconds::communication);
    trainable.update(world.all_reduce(trainable.sums().squares, ReduceOp::kSum), 1e-4, 1.0);
    timer.end_step(&StepSeconds::update);
  };
  TrainingSpeed speed{.parameters = trainable.store().num_elements(),
                      .flops_per_token = flops_per_token(config.model()).training()};
  if (world.size() == 1) {
    speed.step_seconds = measure(step, seconds, trainable.stream()).median;
  } else {
    step();
    timer.take();
    const std::vector<double> times = measure_together(step, seconds, world, trainable.stream());
    const StepSeconds parts = timer.take();
    speed.step_seconds = median(times);
    speed.collective_seconds = parts.collectives / static_cast<double>(times.size());
    speed.exposed_seconds = parts.communication / static_cast<double>(times.size());
    speed.other_seconds = (parts.data + parts.forward_backward + parts.update) / static_cast<double>(times.size());
    speed.bytes_sent = world.traffic().tensor_bytes_by_group();
    for (const auto& [group, bytes] : sent_before) speed.bytes_sent[group] -= bytes;
  }
  speed.tokens_per_second = tokens / speed.step_seconds;
  return speed;
}

}  // namespace mudelta
