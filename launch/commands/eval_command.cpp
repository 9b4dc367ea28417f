#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "dist/mpi.h"
#include "launch/commands/commands.h"
#include "launch/commands/eval_texts.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/commands/text_options.h"
#include "launch/job/agreement.h"
#include "launch/job/job_devices.h"
#include "launch/job/output_path.h"
#include "launch/train/evaluation.h"
#include "launch/train/loaded_model.h"
#include "launch/train/memory_estimate.h"

namespace mudelta {
namespace {

struct EvalArguments {
  std::string checkpoint, data, task, per_token, details;
  std::vector<std::string> texts;
  TextOptions text{.document_separator = ""};
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
void check_batch(const LoadedModel& loaded, std::int64_t batch, std::int64_t sequence_length, std::int64_t most_tokens,
                 Device device) {
  require(sequence_length >= 1, "{}: train.sequence_length is {}, expected at least 1", loaded.folder().string(),
          sequence_length);
  require(batch <= std::numeric_limits<std::int32_t>::max() / sequence_length,
          "--batch is {}: with sequences of {} tokens expected at most {}", batch, sequence_length,
          std::numeric_limits<std::int32_t>::max() / sequence_length);
  require_memory(estimate_inference_memory(loaded.config(), std::min(batch * sequence_length, most_tokens), device),
                 loaded.config().model(),
                 fmt::format("--batch is {}, with sequences of {} tokens", batch, sequence_length),
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

// Of texts and tasks, which no data set's tokenizer has seen.
int run_eval_of_texts(EvalArguments& arguments) {
  const auto [device, world] = choose_devices(ProcessGroup::world(), parse_device_choice(arguments.device));
  const Mesh mesh = make_mesh(world, arguments);
  std::unique_ptr<LoadedModel> loaded;
  StoredTokenizer tokenizer;
  ScoringOptions options{.batch = arguments.batch};
  run_or_fail_together(world, [&, &world = world, device = device] {
    if (world.rank() == 0 && !arguments.details.empty()) require_free_file(arguments.details, arguments.force);
    loaded = std::make_unique<LoadedModel>(arguments.checkpoint, device, rank_info().local_size, mesh.tensor());
    const RunConfig& config = loaded->config();
    tokenizer = load_tokenizer(loaded->folder(), parse_tokenizer_id(config.data().tokenizer()));
    options.window = arguments.sequence_length > 0 ? arguments.sequence_length : config.train().sequence_length();
    check_batch(*loaded, options.batch, options.window, std::numeric_limits<std::int64_t>::max(), device);
  });
  const TextScorer scorer{*loaded, *tokenizer.tokenizer, options, mesh};
  if (arguments.task.empty()) {
    arguments.text.files.assign(arguments.texts.begin(), arguments.texts.end());
    eval_texts(scorer, arguments.text, arguments.details);
  } else {
    eval_task(scorer, arguments.task, arguments.details);
  }
  return 0;
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
    check_batch(*loaded, options.micro_batch, options.sequence_length, dataset->num_tokens(), device);
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
  CLI::App* command = app.add_subcommand(
      "eval", "Loss and bits per byte of a checkpoint on a data set or texts, or accuracy on a task");
  command->footer(
      "Example: mudelta eval --checkpoint runs/1 --data data/corpus --per-token tokens.jsonl\n"
      "         mpirun -n 4 mudelta eval --checkpoint runs/1 --data data/corpus --tensor 2\n"
      "         mudelta eval --checkpoint runs/1 --text book.txt\n"
      "         mudelta eval --checkpoint runs/1 --task hellaswag_val.jsonl");
  command->add_option("--checkpoint", arguments->checkpoint, "A checkpoint, or a run: then its newest one")
      ->type_name("DIR")
      ->required();
  CLI::Option_group* what = command->add_option_group("What is evaluated");
  what->add_option("--data", arguments->data, "Folder written by mudelta prepare or data adopt")->type_name("DIR");
  what->add_option(
          "--text", arguments->texts,
          "Text files, each one document, or JSON lines (.jsonl), each line one; plain, .gz or .zst. A document "
          "that is longer than a sequence is cut into several, each of which sees nothing of the others")
      ->type_name("FILE");
  what->add_option(
          "--task", arguments->task,
          "JSON lines, each a question with its answers, as LAMBADA, HellaSwag and ARC have them, or {context, "
          "choices, answer}: accuracy by the sum of the answers' log-probabilities, and by that over their "
          "lengths in characters")
      ->type_name("FILE.jsonl");
  what->require_option(1);
  add_json_lines_options(*command, arguments->text);
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
  command
      ->add_option("--details", arguments->details,
                   "Of --text and --task: write a JSON object a line for each document or item")
      ->type_name("FILE.jsonl");
  add_force_option(*command, arguments->force);
  command->callback([arguments, &chosen] {
    chosen = [arguments] { return arguments->data.empty() ? run_eval_of_texts(*arguments) : run_eval(*arguments); };
  });
}

}  // namespace mudelta
