#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "launch/checkpoint/checkpoint_difference.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/checkpoint_reader.h"
#include "launch/checkpoint/consolidation.h"
#include "launch/checkpoint/manifest.h"
#include "launch/checkpoint/retention.h"
#include "launch/commands/commands.h"
#include "launch/commands/number_options.h"
#include "launch/commands/shared_options.h"
#include "launch/config/run_config.h"
#include "launch/job/agreement.h"
#include "launch/job/folder_lock.h"
#include "launch/job/output_path.h"
#include "launch/job/printable.h"
#include "launch/job/progress.h"
#include "launch/train/memory_estimate.h"
#include "launch/train/run_directory.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

constexpr int kDamaged = 1;  // exit code

std::int64_t bytes_in(const fs::path& folder) {
  std::int64_t num_bytes = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::uintmax_t size = entry.file_size(error);
    if (!error) num_bytes += static_cast<std::int64_t>(size);
  }
  return num_bytes;
}

// When its manifest was written, by this host's clock and time zone.
std::string time_of(const fs::path& checkpoint) {
  struct stat status {};
  if (::stat((checkpoint / kManifestName).c_str(), &status) != 0) return "?";
  std::tm time{};
  ::localtime_r(&status.st_mtime, &time);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", time);
}

// "data 2 x context 1 x tensor 2"
std::string layout_of(const CheckpointManifest& manifest) {
  const ParallelConfig& parallel = manifest.config().parallel();
  const int replica = std::max(parallel.context() * parallel.tensor(), 1);
  return fmt::format("data {} x context {} x tensor {}", manifest.ranks() / replica, parallel.context(),
                     parallel.tensor());
}

// As the run's configuration says; as by default where it has none.
KeepRules rules_of(const fs::path& run) {
  const fs::path config = RunDirectory(run).config();
  return keep_rules(fs::exists(config) ? load_run_config(config, {}).checkpoint() : CheckpointConfig());
}

// Oldest first. Throws Error if there are none.
std::vector<CheckpointFolder> checkpoints_of(const fs::path& run) {
  std::vector<CheckpointFolder> checkpoints = list_checkpoints(run);
  require(!checkpoints.empty(), "{} is no run that has a checkpoint (checkpoints/step-*)", run.string());
  return checkpoints;
}

void list(const fs::path& run) {
  const std::vector<CheckpointFolder> checkpoints = checkpoints_of(run);
  const KeepRules rules = rules_of(run);
  fmt::print("{:>10}  {:<19}  {:>10}  {:<32}  kept\n", "step", "written", "size", "layout");
  for (std::size_t i = 0; i < checkpoints.size(); ++i) {
    const auto& [step, path] = checkpoints[i];
    std::string layout;
    try {
      const CheckpointReader reader(path);
      reader.check_files();
      layout = layout_of(reader.manifest());
    } catch (const Error& error) {
      layout = fmt::format("damaged: {}", printable(error.what()));
    }
    const std::string kept = reason_to_keep(rules, step, checkpoints.size() - 1 - i);
    fmt::print("{:>10}  {:<19}  {:>10}  {:<32}  {}\n", step, time_of(path),
               human_bytes(static_cast<double>(bytes_in(path))), layout,
               kept.empty() ? "until the next is written" : kept);
  }
}

// That of its tokenizer's file, which the manifest names by its checksum.
std::optional<std::string> problem_of_tokenizer(const CheckpointReader& reader) {
  const DataConfig& data = reader.manifest().config().data();
  if (!data.has_tokenizer()) return std::nullopt;
  try {
    load_tokenizer(reader.folder(), parse_tokenizer_id(data.tokenizer()));
  } catch (const Error& error) {
    return error.what();
  }
  return std::nullopt;
}

// A checkpoint, or all of a run. Returns the exit code.
int verify(const fs::path& folder) {
  std::vector<fs::path> paths;
  if (fs::exists(folder / kManifestName) || step_of(folder)) {
    paths = {folder};
  } else {
    for (const CheckpointFolder& checkpoint : checkpoints_of(folder)) paths.push_back(checkpoint.path);
  }
  std::vector<std::string> damage;
  for (const fs::path& path : paths) {
    std::vector<std::string> found;
    try {
      const CheckpointReader reader(path);
      Progress progress(stdout, "verify", bytes_in(path));
      std::int64_t num_read = 0;
      found = reader.find_damage([&](std::int64_t bytes) { progress.update(num_read += bytes); });
      if (const auto problem = problem_of_tokenizer(reader)) found.push_back(*problem);
    } catch (const Error& error) {
      found = {error.what()};
    }
    fmt::print("{}: {}\n", printable(path.string()), found.empty() ? "whole, every checksum fits" : "damaged");
    for (const std::string& message : found) fmt::print("  {}\n", printable(message));
    damage.insert(damage.end(), found.begin(), found.end());
  }
  return damage.empty() ? 0 : kDamaged;
}

void show(const fs::path& folder) {
  const CheckpointReader reader(resolve_checkpoint(folder));
  const CheckpointManifest& manifest = reader.manifest();
  const ModelConfig& model = manifest.config().model();
  const auto line = [](std::string_view name, const std::string& value) { fmt::print("{:<11} {}\n", name, value); };
  std::int64_t elements = 0;
  for (const CheckpointParameter& parameter : manifest.parameters()) elements += shape_of(parameter).numel();
  line("checkpoint", printable(reader.folder().string()));
  line("written", time_of(reader.folder()));
  line("step", fmt::format("{} of {}, {} target tokens", manifest.state().step(), manifest.config().train().steps(),
                           manifest.state().tokens()));
  if (manifest.state().has_first_loss()) line("first loss", fmt::format("{}", manifest.state().first_loss()));
  if (manifest.state().skipped_in_a_row() > 0) {
    line("skipped", fmt::format("the last {} steps, which were bad", manifest.state().skipped_in_a_row()));
  }
  for (const RowRange& rows : manifest.state().rows_left_out()) {
    line("left out", fmt::format("rows {} to {} of the data's order, by a rollback", rows.begin(), rows.end() - 1));
  }
  line("model", fmt::format("{} parameters: width {}, {} layers, {} heads of {}, vocabulary {}", elements,
                            model.width(), model.layers(), model.heads(), model.head_dim(), model.vocab_size()));
  line("tokenizer", printable(manifest.config().data().tokenizer()));
  line("optimizer", fmt::format("{}, {} updates", manifest.optimizer(), manifest.optimizer_updates()));
  line("logits", fmt::format("multiplied by {}", manifest.logit_multiplier()));
  if (manifest.residual_multiplier() != 1) {
    line("residual", fmt::format("what blocks add is multiplied by {}", manifest.residual_multiplier()));
  }
  line("layout", fmt::format("{}; any other can go on from it", layout_of(manifest)));
  for (const CheckpointFile& file : manifest.files()) {
    fmt::print("{:<11} {}, {}, {} tensors\n", "file", printable(file.name()),
               human_bytes(static_cast<double>(file.num_bytes())), file.segments_size());
  }
  for (const CheckpointDataShard& shard : manifest.data_set().train()) {
    fmt::print("{:<11} {} tokens, xxh64 {}\n", "data", shard.num_tokens(), printable(shard.xxh64()));
  }
  fmt::print("\n{:<36} {:<16} {:<14} {:>9} {:>9} {:>9} {:>9}\n", "parameter", "role", "shape", "init x", "lr x",
             "eps x", "decay x");
  for (const CheckpointParameter& parameter : manifest.parameters()) {
    fmt::print("{:<36} {:<16} {:<14} {:>9.4g} {:>9.4g} {:>9.4g} {:>9.4g}\n", printable(parameter.name()),
               printable(parameter.role()), shape_of(parameter).to_string(), parameter.init_multiplier(),
               parameter.lr_multiplier(), parameter.eps_multiplier(), parameter.decay_multiplier());
  }
}

void consolidate_into(const fs::path& folder, const fs::path& out, bool force) {
  const CheckpointReader reader(resolve_checkpoint(folder));
  require_free_folder(out, force);
  make_folder(out);
  const std::int64_t num_bytes = consolidate(reader, out);
  fmt::print("{}: {}, with config.json\n", printable((out / "model.safetensors").string()),
             human_bytes(static_cast<double>(num_bytes)));
}

void print_difference(const fs::path& a, const fs::path& b) {
  const CheckpointReader reader_a(resolve_checkpoint(a)), reader_b(resolve_checkpoint(b));
  const auto print = [](const WeightDifference& difference) {
    fmt::print("{:<36} {:>12.4g} {:>12.4g}\n", printable(difference.parameter), difference.relative(),
               difference.largest);
  };
  WeightDifference all{.parameter = "all"};
  fmt::print("{:<36} {:>12} {:>12}\n", "parameter", "|b-a|/|a|", "max |b-a|");
  for (const WeightDifference& difference : difference_of(reader_a, reader_b)) {
    print(difference);
    all.add(difference);
  }
  print(all);
}

struct PruneRequest {
  fs::path run;
  std::optional<int> newest;  // instead of the run's own rules
  std::optional<std::int64_t> every;
  bool dry_run = false;
};

void prune(const PruneRequest& request) {
  checkpoints_of(request.run);
  newest_checkpoint(request.run);  // what stays is fit to go on from
  KeepRules rules = rules_of(request.run);
  rules.newest = request.newest.value_or(rules.newest);
  rules.every = request.every.value_or(rules.every);
  const FolderLock lock(request.run);
  const std::vector<CheckpointFolder> chosen =
      request.dry_run ? checkpoints_to_prune(request.run, rules) : prune_checkpoints(request.run, rules);
  for (const CheckpointFolder& checkpoint : chosen) {
    fmt::print("{} {}\n", request.dry_run ? "would remove" : "removed", printable(checkpoint.path.string()));
  }
  if (chosen.empty()) fmt::print("nothing to remove: the rules keep every checkpoint\n");
}

// Sets `chosen` to `body`, which rank 0 alone runs.
void choose(CLI::App& command, Command& chosen, std::function<int()> body) {
  command.callback([body = std::move(body), &chosen] { chosen = [body] { return run_on_first_rank(body); }; });
}

struct Arguments {
  std::string a, b, out;
  bool force = false;
  PruneRequest prune;
};

}  // namespace

void add_checkpoint_command(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("checkpoint", "Look at, check, compare and clear away checkpoints");
  command->require_subcommand(1);
  command->footer(
      "Example: mudelta checkpoint ls runs/1\n"
      "DIR is a checkpoint (RUN/checkpoints/step-*) or a run, which stands for its newest one.");
  const auto add = [&](const char* name, const char* help, const char* type, const char* what) {
    CLI::App* subcommand = command->add_subcommand(name, help);
    subcommand->add_option(type, arguments->a, what)->required();
    return subcommand;
  };
  constexpr char kDirectory[] = "A checkpoint, or a run: its newest";

  choose(*add("ls", "List a run's checkpoints: when, how large, in what layout, and why each is kept", "RUN",
              "Folder of a run"),
         chosen, [arguments] { return list(arguments->a), 0; });
  choose(*add("verify", "Compare every byte with the checksums; names damaged files, and ends with 1 if there are any",
              "DIR", "A checkpoint, or a run: all that it has"),
         chosen, [arguments] { return verify(arguments->a); });
  choose(*add("show", "What a checkpoint is: step, model, layout, files, parameters", "DIR", kDirectory), chosen,
         [arguments] { return show(arguments->a), 0; });

  CLI::App* consolidate_command =
      add("consolidate", "Write the whole model's weights to one file, model.safetensors, with config.json", "DIR",
          kDirectory);
  consolidate_command->add_option("--out", arguments->out, "Folder for the two files")->required();
  add_force_option(*consolidate_command, arguments->force);
  choose(*consolidate_command, chosen,
         [arguments] { return consolidate_into(arguments->a, arguments->out, arguments->force), 0; });

  CLI::App* diff_command =
      add("diff", "How far the weights of B are from those of A, parameter by parameter", "A", kDirectory);
  diff_command->add_option("B", arguments->b, kDirectory)->required();
  choose(*diff_command, chosen, [arguments] { return print_difference(arguments->a, arguments->b), 0; });

  CLI::App* prune_command =
      add("prune", "Remove the checkpoints that the run's keep rules leave out; its newest always stays", "RUN",
          "Folder of a run that no job works in");
  prune_command->add_option("--keep", arguments->prune.newest, "Instead of the run's checkpoint.keep; 0: all")
      ->transform(whole_number(0, std::numeric_limits<int>::max()));
  prune_command->add_option("--keep-every", arguments->prune.every, "Instead of the run's checkpoint.keep_every")
      ->transform(whole_number(0));
  prune_command->add_flag("--dry-run", arguments->prune.dry_run, "Remove nothing; say what would be removed");
  choose(*prune_command, chosen, [arguments] {
    arguments->prune.run = arguments->a;
    return prune(arguments->prune), 0;
  });
}

}  // namespace mudelta
