#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "dist/mpi.h"
#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/job/agreement.h"
#include "launch/job/job_devices.h"
#include "launch/job/output_path.h"
#include "launch/train/evaluation.h"
#include "launch/train/loaded_model.h"
#include "launch/train/memory_estimate.h"

namespace mudelta {
namespace {

struct EvalArguments {
  std::string checkpoint, data, per_token;
  std::string split = "validation";
  std::string device = "AUTO";
  std::int64_t sequences = 0;
  std::int64_t sequence_length = 0;
  std::int64_t batch = 8;
  std::int64_t tensor = 1;
  bool force = false;
};

// The tokens' log-probabilities, a JSON object a line.
class TokenLines {
 public:
  void add(std::int64_t first_target, std::span<const std::int32_t> targets, std::span<const float> losses) {
    for (std::size_t i = 0; i < targets.size(); ++i) {
      fmt::format_to(std::back_inserter(text_), "{{\"position\":{},\"token\":{},\"logprob\":{}}}\n",
                     first_target + static_cast<std::int64_t>(i), targets[i], -losses[i]);
    }
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// That a batch can be counted and has room in memory.
void check_batch(const LoadedModel& loaded, const Dataset& dataset, const EvaluationOptions& options, Device device) {
  require(options.sequence_length >= 1, "{}: train.sequence_length is {}, expected at least 1",
          loaded.folder().string(), options.sequence_length);
  require(options.micro_batch <= std::numeric_limits<std::int32_t>::max() / options.sequence_length,
          "--batch is {}: with sequences of {} tokens expected at most {}", options.micro_batch,
          options.sequence_length, std::numeric_limits<std::int32_t>::max() / options.sequence_length);
  const std::int64_t tokens = std::min(options.micro_batch * options.sequence_length, dataset.num_tokens());
  require_memory(
      estimate_inference_memory(loaded.config(), tokens, device), loaded.config().model(),
      fmt::format("--batch is {}, with sequences of {} tokens", options.micro_batch, options.sequence_length),
      rank_info().local_size, device);
}

// The layout that --tensor asks for. Collective.
Mesh make_mesh(const ProcessGroup& world, const EvalArguments& arguments) {
  run_or_fail_together(world, [&] {
    require(world.size() % arguments.tensor == 0, "--tensor is {}: expected a divisor of the job's {} rank{}",
            arguments.tensor, world.size(), world.size() == 1 ? "" : "s");
    require(arguments.per_token.empty() || world.size() == arguments.tensor,
            "--per-token works on one data rank: this job has {} (ranks / --tensor)", world.size() / arguments.tensor);
  });
  ParallelConfig parallel;
  parallel.set_tensor(static_cast<std::int32_t>(arguments.tensor));
  return Mesh(world, parallel);
}

int run_eval(const EvalArguments& arguments) {
  const auto [device, world] = choose_devices(ProcessGroup::world(), parse_device_choice(arguments.device));
  const Mesh mesh = make_mesh(world, arguments);
  std::unique_ptr<LoadedModel> loaded;
  std::optional<Dataset> dataset;
  EvaluationOptions options;
  run_or_fail_together(world, [&, &world = world, device = device] {
    if (world.rank() == 0 && !arguments.per_token.empty()) require_free_file(arguments.per_token, arguments.force);
    require(arguments.split == "validation" || arguments.split == "train",
            "--split is {}, expected validation or train", arguments.split);
    loaded = std::make_unique<LoadedModel>(arguments.checkpoint, device, rank_info().local_size, mesh.tensor());
    dataset.emplace(arguments.data, arguments.split == "train" ? Split::kTrain : Split::kValidation);
    const RunConfig& config = loaded->config();
    const std::string tokenizer = to_string(dataset->info().tokenizer);
    require(tokenizer == config.data().tokenizer(),
            "the data set in {} was made with the tokenizer {}, the model learnt {}", arguments.data, tokenizer,
            config.data().tokenizer());
    options = {
        .sequence_length = arguments.sequence_length > 0 ? arguments.sequence_length : config.train().sequence_length(),
        .micro_batch = arguments.batch,
        .max_sequences = arguments.sequences,
        .reset_at_documents = config.data().reset_at_documents()};
    check_batch(*loaded, *dataset, options, device);
  });

  TokenLines lines;
  LossVisitor visit;
  if (world.rank() == 0 && !arguments.per_token.empty()) {
    visit = [&](std::int64_t first, std::span<const std::int32_t> targets, std::span<const float> losses) {
      lines.add(first, targets, losses);
    };
  }
  const Evaluation result = evaluate(loaded->model(), *dataset, options, mesh, loaded->stream(), visit).value();
  if (!std::isfinite(result.loss)) {
    throw SharedError(fmt::format("{}: the loss on the {} split is {}, expected a finite number",
                                  loaded->folder().string(), arguments.split, result.loss));
  }
  run_or_fail_together(world, [&] {
    if (visit) write_file_atomically(arguments.per_token, lines.text());
  });
  if (world.rank() == 0) {
    fmt::print("checkpoint     {}\n", loaded->folder().string());
    fmt::print("tokens         {} of {} in the {} split ({} bytes of text)\n", result.tokens, dataset->num_tokens(),
               arguments.split, result.bytes);
    fmt::print("loss           {:.6f} nats per token\n", result.loss);
    fmt::print("perplexity     {:.4f}\n", result.perplexity);
    fmt::print("bits per byte  {:.4f}\n", result.bits_per_byte);
  }
  return 0;
}

}  // namespace

void add_eval_command(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = app.add_subcommand("eval", "Loss, perplexity and bits per byte of a checkpoint on a data set");
  command->footer(
      "Example: mudelta eval --checkpoint runs/1 --data data/corpus --per-token tokens.jsonl\n"
      "         mpirun -n 4 mudelta eval --checkpoint runs/1 --data data/corpus --tensor 2");
  command->add_option("--checkpoint", arguments->checkpoint, "A checkpoint, or a run: then its newest one")
      ->type_name("DIR")
      ->required();
  command->add_option("--data", arguments->data, "Folder written by mudelta prepare")->type_name("DIR")->required();
  command->add_option("--split", arguments->split, "validation or train")->capture_default_str();
  add_whole_number(*command, "--sequences", arguments->sequences, 0, "Only the first N sequences of the split; 0: all");
  add_whole_number(*command, "--sequence-length", arguments->sequence_length, 0,
                   "Tokens per sequence; 0: as in training. The split's last tokens, too few for one, are left out");
  add_device_option(*command, arguments->device);
  add_whole_number(*command, "--batch", arguments->batch, 1, "Sequences at a time on each data rank");
  add_whole_number(*command, "--tensor", arguments->tensor, 1,
                   "Ranks that share a model, each with a part of it; the job's ranks / N are data ranks, each with a "
                   "share of the sequences. Whatever layout the run had");
  command
      ->add_option("--per-token", arguments->per_token,
                   "Write a JSON object a line for each target token: position (in the split, whose first token is 0), "
                   "token (its id), logprob (natural logarithm of its probability)")
      ->type_name("FILE.jsonl");
  add_force_option(*command, arguments->force);
  command->callback([arguments, &chosen] { chosen = [arguments] { return run_eval(*arguments); }; });
}

}  // namespace mudelta
