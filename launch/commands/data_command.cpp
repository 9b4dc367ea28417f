#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "core/error.h"
#include "data/dataset.h"
#include "data/dataset_info.h"
#include "data/shard.h"
#include "launch/commands/commands.h"
#include "launch/job/agreement.h"
#include "launch/job/progress.h"
#include "launch/job/stopwatch.h"

namespace mudelta {
namespace {

constexpr double kMegabyte = 1e6;

void verify(const std::filesystem::path& folder) {
  const DatasetInfo info = read_dataset_info(folder);
  const auto shards = all_shards(info);
  std::int64_t num_bytes = 0, num_read = 0;
  for (const auto& shard : shards) num_bytes += shard_layout(info.vocab_size).num_bytes(shard.num_tokens);

  const Stopwatch stopwatch;
  Progress progress(stdout, "verify", num_bytes);
  std::string first_problem;
  int num_damaged = 0;
  for (const auto& shard : shards) {
    try {
      verify_shard(folder, info, shard, [&](std::int64_t bytes) {
        num_read += bytes;
        progress.update(num_read, fmt::format("{:.1f} of {:.1f} MB", num_read / kMegabyte, num_bytes / kMegabyte));
      });
    } catch (const Error& error) {
      if (num_damaged++ == 0) first_problem = error.what();
      progress.print(error.what());
    }
  }
  progress.finish();
  require(num_damaged == 0, "{} of the {} shards of {} are damaged; the first: {}", num_damaged, shards.size(),
          folder.string(), first_problem);
  fmt::print("{} shards, {:.1f} MB: all as dataset.json says, read in {:.2f} s\n", shards.size(), num_bytes / kMegabyte,
             stopwatch.seconds());
}

}  // namespace

void add_data_command(CLI::App& app, Command& chosen) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("data", "Look after data sets");
  command->require_subcommand(1);
  command->footer("Example: mudelta data verify data/corpus");
  CLI::App* verify_command = command->add_subcommand(
      "verify", "Read every shard whole; compare size, header, token ids and checksum with what dataset.json says");
  verify_command->add_option("DIR", *folder, "Folder written by mudelta prepare")->required();
  verify_command->callback([folder, &chosen] {
    chosen = [folder] {
      return run_on_first_rank([&] {
        verify(*folder);
        return 0;
      });
    };
  });
}

}  // namespace mudelta
