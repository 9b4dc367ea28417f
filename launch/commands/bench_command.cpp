#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"
#include "dist/mpi.h"
#include "launch/bench/bench_kernels.h"
#include "launch/bench/bench_rule.h"
#include "launch/bench/bench_training.h"
#include "launch/bench/copy_bandwidth.h"
#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/config/config_text.h"
#include "launch/config/run_config.h"
#include "launch/config/run_config_validation.h"
#include "launch/job/agreement.h"
#include "launch/job/job_devices.h"
#include "launch/job/stopwatch.h"
#include "launch/train/gemm_peak.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/stored_model.h"
#include "model/config.h"
#include "model/flops.h"
#include "model/parameter_parts.h"

namespace mudelta {
namespace {

struct BenchArguments {
  std::vector<std::int64_t> widths{256, 512};
  std::int64_t layers = 8;
  std::int64_t sequences = 8;
  std::int64_t sequence_length = 512;
  std::int64_t vocab_size = 257;
  double seconds = 0.3;
  std::vector<std::string> rules;
  std::string device = "CPU";
  bool bfloat16 = false;
  bool cuda_graph = false;
  bool no_kernels = false;
  bool no_rule = false;
  bool no_training = false;
  std::vector<std::string> overrides;
};

RunConfig bench_config(const BenchArguments& arguments, std::int64_t width, int ranks) {
  constexpr std::int64_t kMaxTokens = std::numeric_limits<std::int32_t>::max();
  require(arguments.sequences <= kMaxTokens / arguments.sequence_length,
          "--sequences is {}: with --sequence-length {} expected at most {}", arguments.sequences,
          arguments.sequence_length, kMaxTokens / arguments.sequence_length);
  RunConfig config;
  ModelConfig& model = *config.mutable_model();
  model.set_width(width);
  model.set_layers(arguments.layers);
  model.set_vocab_size(arguments.vocab_size);
  TrainConfig& train = *config.mutable_train();
  train.set_global_batch(arguments.sequences);
  train.set_sequence_length(arguments.sequence_length);
  train.set_compute_dtype(arguments.bfloat16 ? TrainConfig::BFLOAT16 : TrainConfig::FLOAT32);
  train.set_cuda_graph(arguments.cuda_graph);
  apply_overrides(arguments.overrides, config);
  config.mutable_data()->clear_sources();
  config.mutable_data()->set_path("none");
  validate(config, ranks);
  model = resolve(model);
  require_parts(model, config.parallel().tensor());
  return with_defaults(config);
}

void require_memory_for(const RunConfig& config, int ranks, Device device) {
  const std::string batch = fmt::format("--sequences is {}, --sequence-length {}", config.train().global_batch(),
                                        config.train().sequence_length());
  require_memory(estimate_memory(config, mesh_sizes(ranks, config.parallel()).data, device), config.model(), batch,
                 rank_info().local_size, device);
}

DType dtype_of(const BenchArguments& arguments) { return arguments.bfloat16 ? DType::kBFloat16 : DType::kFloat32; }

void require_memory_for(const RuleShape& shape, DType dtype, Device device) {
  const double needed = rule_backward_cost(shape, dtype).bytes, there = memory_share(1, device);
  require(needed <= there, "--rule {}: about {} of memory are needed, and there are {}", shape.to_string(),
          human_bytes(needed), human_bytes(there));
}

// Measured on the device that is timed.
struct Peaks {
  double float32, bfloat16;  // FLOP/s of a matrix product
  double copy;               // bytes/s
  double of(DType dtype) const { return dtype == DType::kBFloat16 ? bfloat16 : float32; }
};

void print_kernels(const RunConfig& config, Device device, const Peaks& peaks, double seconds) {
  const TrainConfig& train = config.train();
  fmt::print("\nkernels, width {}, {} sequences of {} tokens, {}\n", config.model().width(), train.global_batch(),
             train.sequence_length(), TrainConfig::ComputeDtype_Name(train.compute_dtype()));
  fmt::print("{:<24}{:>10}{:>11}{:>10}{:>10}{:>10}\n", "", "ms", "GFLOP/s", "of peak", "GB/s", "of copy");
  const Stream stream(device);
  const double gemm_peak = peaks.of(compute_dtype(train));
  const auto cases =
      kernel_cases(config.model(), train.global_batch(), train.sequence_length(), compute_dtype(train), stream);
  for (const KernelCase& kernel : cases) {
    const double time = measure(kernel.run, seconds, stream).median;
    fmt::print("{:<24}{:>10.3f}{:>11.1f}{:>9.1f}%{:>10.1f}{:>9.0f}%\n", kernel.name, time * 1e3,
               kernel.flops / time / 1e9, 100 * kernel.flops / time / gemm_peak, kernel.bytes / time / 1e9,
               100 * kernel.bytes / time / peaks.copy);
  }
}

void print_rules(const std::vector<RuleShape>& shapes, DType dtype, Device device, const Peaks& peaks, double seconds) {
  fmt::print("\ngated delta rule, {}; floor: the longer of its bytes at the copy rate and its products at their peak\n",
             name_of(dtype));
  fmt::print("{:<26}{:>10}{:>9}{:>10}{:>9}{:>10}{:>9}\n", "sequences, heads, dims", "fwd ms", "x floor", "bwd ms",
             "x floor", "both ms", "x floor");
  for (const RuleShape& shape : shapes) {
    RandomTensors random{Stream(device)};
    const RuleCalls calls = rule_calls(random_rule_problem(shape, dtype, random), random.stream());
    const double forward = measure(calls.forward, seconds, random.stream()).median;
    const double backward = measure(calls.backward, seconds, random.stream()).median;
    const double forward_floor = rule_forward_cost(shape, dtype).floor(peaks.of(dtype), peaks.copy);
    const double backward_floor = rule_backward_cost(shape, dtype).floor(peaks.of(dtype), peaks.copy);
    fmt::print("{:<26}{:>10.3f}{:>9.2f}{:>10.3f}{:>9.2f}{:>10.3f}{:>9.2f}\n", shape.to_string(), forward * 1e3,
               forward / forward_floor, backward * 1e3, backward / backward_floor, (forward + backward) * 1e3,
               (forward + backward) / (forward_floor + backward_floor));
  }
}

// How a step of several ranks is shared out.
void print_communication(const TrainingSpeed& speed) {
  std::vector<std::string> sent;
  for (const auto& [group, bytes] : speed.bytes_sent) {
    sent.push_back(fmt::format("{} {}", group, human_bytes(static_cast<double>(bytes))));
  }
  fmt::print("{:>6}  s/step: compute {:.4f}, communication {:.4f}, of it exposed {:.4f} ({:.1f}%); sent: {}\n", "",
             speed.other_seconds, speed.collective_seconds, speed.exposed_seconds,
             100 * speed.exposed_seconds / (speed.other_seconds + speed.exposed_seconds), fmt::join(sent, ", "));
}

// The peak is measured on both sides of the steps: on a shared machine it moves. Collective; rank 0 prints.
void print_training(const RunConfig& config, const ProcessGroup& world, Device device, double seconds) {
  MfuPeak mfu_peak(compute_dtype(config.train()), device, world);
  const TrainingSpeed speed = measure_training(config, Mesh(world, config.parallel()), device, seconds);
  mfu_peak.sample();
  if (world.rank() != 0) return;
  const double peak = mfu_peak.flops_per_second();
  fmt::print("{:>6}{:>10.1f}M{:>10}{:>12.3f}{:>14.0f}{:>12.1f}{:>10.1f}{:>9.3f}\n", config.model().width(),
             static_cast<double>(speed.parameters) / 1e6,
             TrainConfig::ComputeDtype_Name(config.train().compute_dtype()), speed.step_seconds,
             speed.tokens_per_second, speed.tokens_per_second * speed.flops_per_token / 1e9, peak / 1e9,
             speed.tokens_per_second * speed.flops_per_token / peak);
  if (world.size() > 1) print_communication(speed);
}

struct BenchPlan {
  std::vector<RuleShape> rules;
  std::vector<RunConfig> configs;  // one for each width
};

BenchPlan plan_bench(const BenchArguments& arguments, int ranks, Device device) {
  require(device.is_cuda() || !arguments.cuda_graph, "--cuda-graph is given: expected a GPU, but the device is {}",
          device.to_string());
  BenchPlan plan;
  for (const std::string& rule : arguments.rules.empty() ? default_rule_shapes(device.is_cuda()) : arguments.rules) {
    for (const std::string& shape : split_rule_shapes(rule)) {
      plan.rules.push_back(parse_rule_shape(shape));
      require_memory_for(plan.rules.back(), dtype_of(arguments), device);
    }
  }
  for (const std::int64_t width : arguments.widths) {
    plan.configs.push_back(bench_config(arguments, width, ranks));
    require_memory_for(plan.configs.back(), ranks, device);
  }
  return plan;
}

// What one process measures alone.
int print_parts(const BenchArguments& arguments, const BenchPlan& plan, Device device) {
  const Peaks peaks{.float32 = measure_gemm_peak(DType::kFloat32, device, arguments.seconds),
                    .bfloat16 = measure_gemm_peak(DType::kBFloat16, device, arguments.seconds),
                    .copy = measure_copy_bandwidth(device, arguments.seconds)};
  fmt::print("{}; matrix product peak: float32 {:.1f} GFLOP/s, bfloat16 {:.1f} GFLOP/s; copy {:.1f} GB/s\n",
             device.is_cuda() ? gpu::devices()[static_cast<std::size_t>(device.index)].name
                              : fmt::format("threads {}", omp_get_max_threads()),
             peaks.float32 / 1e9, peaks.bfloat16 / 1e9, peaks.copy / 1e9);

  if (!arguments.no_kernels) {
    for (const RunConfig& config : plan.configs) print_kernels(config, device, peaks, arguments.seconds);
  }
  if (!arguments.no_rule) print_rules(plan.rules, dtype_of(arguments), device, peaks, arguments.seconds);
  return 0;
}

void print_training_head(const RunConfig& config, const ProcessGroup& world) {
  const MeshSizes sizes = mesh_sizes(world.size(), config.parallel());
  fmt::print("\ntraining step, {} layers, {} sequences of {} tokens{}; MFU = model FLOP/s over the peak\n",
             config.model().layers(), config.train().global_batch(), config.train().sequence_length(),
             world.size() > 1 ? fmt::format(", {}, over {}", sizes.to_string(), world.transport()) : "");
  fmt::print("{:>6}{:>11}{:>10}{:>12}{:>14}{:>12}{:>10}{:>9}\n", "width", "parameters", "dtype", "s/step", "tokens/s",
             "GFLOP/s", "peak", "MFU");
}

int run_bench(const BenchArguments& arguments) {
  const auto [device, world] = choose_devices(ProcessGroup::world(), parse_device_choice(arguments.device));
  BenchPlan plan;
  run_or_fail_together(world,
                       [&, &world = world, device = device] { plan = plan_bench(arguments, world.size(), device); });
  run_on_first_rank([&, device = device] { return print_parts(arguments, plan, device); });
  if (arguments.no_training) return 0;
  if (world.rank() == 0) print_training_head(plan.configs.front(), world);
  for (const RunConfig& config : plan.configs) print_training(config, world, device, 10 * arguments.seconds);
  return 0;
}

}  // namespace

void add_bench_command(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<BenchArguments>();
  CLI::App* command = app.add_subcommand("bench", "Measure matrix products, every kernel, and whole training steps");
  command->footer(
      "Example: mudelta bench --widths 256,512\n"
      "         mpirun -n 4 mudelta bench --no-kernels --no-rule --set parallel.tensor=2\n"
      "Kernels run on one rank, training steps on all ranks in the given layout. Communication is exposed where "
      "nothing\n"
      "is computed beside it.\n"
      "FLOPs are those of the mathematics (the recurrent form of the gated delta rule). Figures are medians; on a\n"
      "machine that others use too, compare only figures of one run.");
  add_device_option(*command, arguments->device);
  add_list(*command, "--widths", arguments->widths, whole_number(1), "Model widths");
  add_whole_number(*command, "--layers", arguments->layers, 1, "Of the training step");
  add_whole_number(*command, "--sequences", arguments->sequences, 1, "Per step");
  add_whole_number(*command, "--sequence-length", arguments->sequence_length, 1, "Tokens per sequence");
  add_whole_number(*command, "--vocab-size", arguments->vocab_size, 1, "Token ids");
  command->add_option(
      "--rule", arguments->rules,
      "Shapes of the gated delta rule by itself: SEQUENCESxTOKENS,HEADS/VALUE_HEADS,KEY_DIMxVALUE_DIM[,...],\n"
      "as in 8x2048,16/32,128x256. Default: some that suit the device");
  command->add_option("--seconds", arguments->seconds, "Per kernel; ten times as much per training figure")
      ->check(positive_number())
      ->capture_default_str();
  command->add_flag("--bfloat16", arguments->bfloat16, "Matrices and activations in bfloat16");
  command->add_flag("--cuda-graph", arguments->cuda_graph, "Training steps with train.cuda_graph");
  add_set_option(*command, arguments->overrides);
  command->add_flag("--no-kernels", arguments->no_kernels, "Leave out the kernels");
  command->add_flag("--no-rule", arguments->no_rule, "Leave out the gated delta rule by itself");
  command->add_flag("--no-training", arguments->no_training, "Leave out the training steps");
  command->callback([arguments, &chosen] { chosen = [arguments] { return run_bench(*arguments); }; });
}

}  // namespace mudelta
