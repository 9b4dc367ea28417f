#include "launch/plan/measured_hardware.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "dist/mpi.h"
#include "launch/bench/bench_rule.h"
#include "launch/bench/bench_training.h"
#include "launch/bench/copy_bandwidth.h"
#include "launch/job/agreement.h"
#include "launch/job/job_devices.h"
#include "launch/job/stopwatch.h"
#include "launch/plan/step_time.h"
#include "launch/train/gemm_peak.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/stored_model.h"
#include "model/mixer.h"

namespace mudelta {
namespace {

constexpr double kSeconds = 0.5;
constexpr std::int64_t kTokens = 4096;  // of the rule and of the step
constexpr std::int64_t kLayers = 4;     // of the step

// The smallest of the ranks' rates: they wait for each other in every step.
double slowest(const ProcessGroup& world, double rate) { return -world.all_reduce(-rate, ReduceOp::kMax); }

std::int64_t sequences_of(const TrainConfig& train) {
  return std::max<std::int64_t>(kTokens / train.sequence_length(), 1);
}

void measure_rule(const RunConfig& config, Device device, Hardware& hardware) {
  const Mixer::Sizes s = Mixer::sizes(config.model());
  const std::int64_t length = std::min(config.train().sequence_length(), kTokens);
  const RuleShape shape{sequences_of(config.train()), length, s.heads, s.value_heads, s.head_dim, s.value_dim};
  const DType dtype = compute_dtype(config.train());
  RandomTensors random{Stream(device)};
  const RuleCalls calls = rule_calls(random_rule_problem(shape, dtype, random), random.stream());
  const double matrix = matrix_rate(hardware, dtype), memory = memory_rate(hardware);
  hardware.set_rule_forward(measure(calls.forward, kSeconds, random.stream()).median /
                            rule_forward_cost(shape, dtype).floor(matrix, memory));
  hardware.set_rule_backward(measure(calls.backward, kSeconds, random.stream()).median /
                             rule_backward_cost(shape, dtype).floor(matrix, memory));
}

// Of one rank alone, against what the other rates say.
double measure_step(RunConfig config, Device device, const Hardware& hardware) {
  TrainConfig& train = *config.mutable_train();
  config.mutable_model()->set_layers(std::min(config.model().layers(), kLayers));
  train.set_sequence_length(std::min(train.sequence_length(), kTokens));
  train.set_global_batch(sequences_of(train));
  train.clear_micro_batch();
  config.mutable_parallel()->clear_tensor();
  config.mutable_parallel()->clear_context();
  config.mutable_parallel()->clear_sequence_parallel();
  return measure_training(config, Mesh(), device, 4 * kSeconds).step_seconds /
         estimate_step_time(config, 1, hardware).total();
}

// A reduction and a gather of so many floats for each rank, in seconds.
double seconds_of_collectives(const ProcessGroup& group, std::int64_t elements, Device device) {
  const Stream stream(device);
  const Tensor whole = Tensor::zeros({elements * group.size()}, DType::kFloat32, device);
  const Tensor part = whole.slice(group.rank() * elements, (group.rank() + 1) * elements);
  const auto both = [&] {
    group.reduce_scatter(whole, part, stream);
    group.all_gather(part, whole, stream);
  };
  constexpr int kCalls = 5;
  std::vector<double> seconds;
  for (int i = 0; i <= kCalls; ++i) {
    stream.synchronize();
    group.barrier();
    Stopwatch watch;
    both();
    stream.synchronize();
    if (i > 0) seconds.push_back(watch.seconds());  // the first warms up
  }
  std::ranges::nth_element(seconds, seconds.begin() + kCalls / 2);
  return group.all_reduce(seconds[kCalls / 2], ReduceOp::kMax);
}

// `links`: by which a ring over the group leaves a node.
Hardware::Link measure_link(const ProcessGroup& group, int links, Device device) {
  constexpr std::int64_t kFew = 256, kMany = 4 << 20;
  const double latency = seconds_of_collectives(group, kFew, device) / 2;
  const double sent = 2.0 * sizeof(float) * kMany * (group.size() - 1);
  const double seconds = std::max(seconds_of_collectives(group, kMany, device) - 2 * latency, 1e-9);
  Hardware::Link link;
  link.set_gb_per_second(sent / seconds / links / 1e9);
  link.set_latency_microseconds(latency * 1e6 / std::ceil(std::log2(group.size())));
  return link;
}

}  // namespace

Hardware measure_hardware(const RunConfig& config, const ProcessGroup& world, Device device) {
  const RankInfo info = rank_info();
  Hardware hardware;
  hardware.set_name("measured");
  hardware.set_gpu(device.is_cuda());
  hardware.set_devices_per_node(info.local_size);
  run_or_fail_together(world, [&] {
    hardware.set_memory_gib(memory_share(info.local_size, device) / (1 << 30));
    hardware.set_float32_tflops(measure_gemm_peak(DType::kFloat32, device, kSeconds) / 1e12);
    hardware.set_bfloat16_tflops(measure_gemm_peak(DType::kBFloat16, device, kSeconds) / 1e12);
    hardware.set_memory_gb_per_second(measure_copy_bandwidth(device, kSeconds) / 1e9);
    measure_rule(config, device, hardware);
    hardware.set_step(measure_step(config, device, hardware));
  });
  hardware.set_memory_gib(slowest(world, hardware.memory_gib()));
  hardware.set_float32_tflops(slowest(world, hardware.float32_tflops()));
  hardware.set_bfloat16_tflops(slowest(world, hardware.bfloat16_tflops()));
  hardware.set_memory_gb_per_second(slowest(world, hardware.memory_gb_per_second()));
  hardware.set_rule_forward(world.all_reduce(hardware.rule_forward(), ReduceOp::kMax));
  hardware.set_rule_backward(world.all_reduce(hardware.rule_backward(), ReduceOp::kMax));
  hardware.set_step(world.all_reduce(hardware.step(), ReduceOp::kMax));

  const ProcessGroup node = world.split((info.rank - info.local_rank), info.rank);
  if (node.size() > 1) *hardware.mutable_within_node() = measure_link(node, 1, device);
  if (world.size() > node.size()) *hardware.mutable_between_nodes() = measure_link(world, node.size(), device);
  return hardware;
}

}  // namespace mudelta
