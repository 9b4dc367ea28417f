#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "data/tokenizers/utf8.h"
#include "dist/mpi.h"
#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/sampler.h"
#include "launch/commands/shared_options.h"
#include "launch/job/agreement.h"
#include "launch/job/job_devices.h"
#include "launch/job/stopwatch.h"
#include "launch/train/loaded_model.h"

namespace mudelta {
namespace {

struct GenerateArguments {
  std::string checkpoint, prompt;
  std::string device = "AUTO";
  std::int64_t tokens = 256;
  SamplingOptions sampling{.temperature = 0.8};
};

// A text that grows token by token; each costs the same, however long the text is.
class Continuation {
 public:
  Continuation(const LanguageModel& model, Stream stream)
      : model_(model), stream_(stream), state_(model.make_state(1)) {}

  // Logits of the token after `tokens`, which follow on what was given before.
  Tensor next_logits(const std::vector<std::int32_t>& tokens) {
    const auto count = static_cast<std::int64_t>(tokens.size());
    const std::int32_t ends[] = {0, static_cast<std::int32_t>(count)};
    const Device device = stream_.device();
    const PackedTokens input{Tensor::from(tokens, {count}).to(device), Tensor::from(ends, {2}).to(device)};
    return model_.logits(input, &state_, stream_).slice(count - 1, count).to(Device());
  }

 private:
  const LanguageModel& model_;
  Stream stream_;
  DecodeState state_;
};

// To stdout, by rank 0. Text comes in parts of characters; each is printed once it is whole.
class Output {
 public:
  explicit Output(const ProcessGroup& world) : is_first_(world.rank() == 0) {}
  void print(std::string_view part) {
    pending_ += part;
    const std::size_t whole = whole_characters(pending_);
    write(std::string_view(pending_).substr(0, whole));
    pending_.erase(0, whole);
  }
  void end_text() { write(std::exchange(pending_, "") + "\n"); }
  void print_speed(std::int64_t tokens, double seconds) const {
    if (!is_first_) return;
    fmt::print(stderr, "({} tokens, {:.0f} a second)\n", tokens, static_cast<double>(tokens) / seconds);
  }

 private:
  void write(std::string_view text) const {
    if (!is_first_) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  bool is_first_;
  std::string pending_;
};

// All ranks are one tensor group: each holds a part of the model, and all of them choose the same tokens.
int run_generate(const GenerateArguments& arguments) {
  const auto [device, world] = choose_devices(ProcessGroup::world(), parse_device_choice(arguments.device));
  std::unique_ptr<const LoadedModel> model;
  std::unique_ptr<const Tokenizer> tokenizer;
  run_or_fail_together(world, [&, &world = world, device = device] {
    validate(arguments.sampling);
    model = std::make_unique<const LoadedModel>(arguments.checkpoint, device, rank_info().local_size, world);
    const TokenizerId id = parse_tokenizer_id(model->config().data().tokenizer());
    tokenizer = load_tokenizer(model->folder(), id).tokenizer;
    require(model->config().model().vocab_size() >= tokenizer->vocab_size(),
            "{}: model.vocab_size is {}, expected the {} of the tokenizer {} at least", model->folder().string(),
            model->config().model().vocab_size(), tokenizer->vocab_size(), id.kind);
  });
  const LoadedModel& loaded = *model;
  Output out(world);

  std::vector<std::int32_t> tokens{tokenizer->separator()};
  tokenizer->encode(arguments.prompt, tokens);
  out.print(arguments.prompt);

  const Stopwatch stopwatch;
  Continuation continuation(loaded.model(), loaded.stream());
  std::int64_t generated = 0;
  while (generated < arguments.tokens) {
    const Tensor logits = continuation.next_logits(tokens);
    if (!std::ranges::all_of(logits.span<float>(), [](float x) { return std::isfinite(x); })) {
      out.end_text();
      throw SharedError(fmt::format("{}: the logits of token {} are not all finite numbers", loaded.folder().string(),
                                    generated + 1));
    }
    const auto known = logits.span<float>().first(static_cast<std::size_t>(tokenizer->vocab_size()));
    const std::int32_t token = sample(known, arguments.sampling, static_cast<std::uint64_t>(generated));
    ++generated;
    if (token == tokenizer->separator()) break;  // the text ends here
    tokens = {token};
    out.print(generated == 1 && arguments.prompt.empty() ? tokenizer->decode(tokens) : tokenizer->text_of(token));
  }
  out.end_text();
  out.print_speed(generated, stopwatch.seconds());
  return 0;
}

}  // namespace

void add_generate_command(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand("generate", "Continue a text with a checkpoint");
  command->footer(
      "Example: mudelta generate --checkpoint runs/1 --prompt \"The sea\" --temperature 0.7 --seed 3\n"
      "         mpirun -n 2 mudelta generate --checkpoint runs/1 --prompt \"The sea\"\n"
      "All ranks share the model, each with a part of it, whatever layout the run had.");
  command->add_option("--checkpoint", arguments->checkpoint, "A checkpoint, or a run: then its newest one")
      ->type_name("DIR")
      ->required();
  command->add_option("--prompt", arguments->prompt, "The text to continue; may be empty")->required();
  add_whole_number(*command, "--tokens", arguments->tokens, 0, "Tokens to add at most; fewer if the text ends");
  add_device_option(*command, arguments->device);
  SamplingOptions& sampling = arguments->sampling;
  command->add_option("--temperature", sampling.temperature, "0: always the most likely token")
      ->check(finite_number())
      ->capture_default_str();
  add_whole_number(*command, "--top-k", sampling.top_k, 0, "Choose among the K most likely tokens; 0: all");
  command->add_option("--top-p", sampling.top_p, "Choose among the fewest tokens whose probability reaches P")
      ->check(finite_number())
      ->capture_default_str();
  add_whole_number(*command, "--seed", sampling.seed, 0, "Of the choices: the same seed gives the same text");
  command->callback([arguments, &chosen] { chosen = [arguments] { return run_generate(*arguments); }; });
}

}  // namespace mudelta
