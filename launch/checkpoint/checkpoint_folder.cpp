#include "launch/checkpoint/checkpoint_folder.h"

#include <fmt/ranges.h>
#include <glog/logging.h>

#include <algorithm>
#include <charconv>
#include <ranges>
#include <string_view>
#include <system_error>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "launch/checkpoint/checkpoint_reader.h"
#include "launch/checkpoint/manifest.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "step-";
constexpr std::string_view kTemporaryPrefix = ".tmp-";
constexpr std::string_view kTrashPrefix = ".trash-";
constexpr std::string_view kSetAsidePrefix = "set-aside-";

fs::path checkpoints_dir(const fs::path& run_dir) { return run_dir / "checkpoints"; }

std::string step_name(std::int64_t step) { return fmt::format("{}{:08}", kStepPrefix, step); }

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  const bool is_absent = error == std::errc::no_such_file_or_directory;
  require(!error || is_absent, "cannot list {}: {}", folder.string(), error.message());
  return entries;
}

// What is wrong with a checkpoint, by its manifest and `check`; nothing if it is sound.
std::optional<std::string> find_fault(const fs::path& folder, void (CheckpointReader::*check)() const) {
  try {
    (CheckpointReader(folder).*check)();
    return std::nullopt;
  } catch (const Error& error) {
    return error.what();
  }
}

// Oldest first.
std::vector<CheckpointFolder> checkpoints_in(const fs::path& folder) {
  std::vector<CheckpointFolder> checkpoints;
  for (const fs::path& path : entries_of(folder)) {
    if (const auto step = step_of(path)) checkpoints.push_back({*step, path});
  }
  std::ranges::sort(checkpoints, {}, &CheckpointFolder::step);
  return checkpoints;
}

}  // namespace

fs::path checkpoint_path(const fs::path& run_dir, std::int64_t step) {
  return checkpoints_dir(run_dir) / step_name(step);
}

fs::path temporary_checkpoint_path(const fs::path& run_dir, std::int64_t step) {
  return checkpoints_dir(run_dir) / (std::string(kTemporaryPrefix) + step_name(step));
}

std::optional<std::int64_t> step_of(const fs::path& checkpoint) {
  const std::string name = (checkpoint.has_filename() ? checkpoint : checkpoint.parent_path()).filename().string();
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  std::int64_t step = 0;
  const char* digits = name.data() + kStepPrefix.size();
  const auto [end, error] = std::from_chars(digits, name.data() + name.size(), step);
  if (error != std::errc() || step < 0 || step_name(step) != name) return std::nullopt;
  return step;
}

std::vector<CheckpointFolder> list_checkpoints(const fs::path& run_dir) {
  return checkpoints_in(checkpoints_dir(run_dir));
}

std::optional<fs::path> newest_checkpoint(const fs::path& run_dir) {
  const std::vector<CheckpointFolder> checkpoints = list_checkpoints(run_dir);
  if (checkpoints.empty()) return std::nullopt;
  const fs::path& newest = checkpoints.back().path;
  if (const auto fault = find_fault(newest, &CheckpointReader::check_files)) fail("{}", with_advice(*fault, newest));
  return newest;
}

fs::path checkpoint_of_step(const fs::path& run_dir, std::int64_t step) {
  const std::vector<CheckpointFolder> checkpoints = list_checkpoints(run_dir);
  const auto found = std::ranges::find(checkpoints, step, &CheckpointFolder::step);
  if (found == checkpoints.end()) {
    std::vector<std::int64_t> steps;
    for (const CheckpointFolder& checkpoint : checkpoints) steps.push_back(checkpoint.step);
    fail("{} has no checkpoint of step {}, expected one of [{}]", run_dir.string(), step, fmt::join(steps, ", "));
  }
  if (const auto fault = find_fault(found->path, &CheckpointReader::check_files)) {
    fail("{}", with_advice(*fault, found->path));
  }
  return found->path;
}

std::string with_advice(const std::string& damage, const fs::path& checkpoint) {
  const auto step = step_of(checkpoint);
  if (!step) return damage;
  std::vector<CheckpointFolder> older = checkpoints_in(checkpoint.lexically_normal().parent_path());
  std::erase_if(older, [&](const CheckpointFolder& other) { return other.step >= *step; });
  for (const auto& [_, path] : std::views::reverse(older)) {
    if (find_fault(path, &CheckpointReader::check_elements)) continue;
    return fmt::format("{}; to go on from {} instead, remove {} and every other newer checkpoint", damage,
                       path.string(), checkpoint.string());
  }
  return damage + "; the run has no older checkpoint that is sound";
}

fs::path resolve_checkpoint(const fs::path& folder) {
  if (fs::exists(folder / kManifestName)) return folder;
  const auto newest = newest_checkpoint(folder);
  require(newest.has_value(), "{} is neither a checkpoint (it holds no {}) nor a run that has one (checkpoints/step-*)",
          folder.string(), kManifestName);
  return *newest;
}

void remove_leftovers(const fs::path& run_dir) {
  for (const fs::path& path : entries_of(checkpoints_dir(run_dir))) {
    const std::string name = path.filename().string();
    if (!name.starts_with(kTemporaryPrefix) && !name.starts_with(kTrashPrefix)) continue;
    std::error_code error;
    fs::remove_all(path, error);
    require(!error, "cannot remove {}: {}", path.string(), error.message());
  }
}

std::vector<CheckpointFolder> checkpoints_to_prune(const fs::path& run_dir, const KeepRules& rules) {
  const std::vector<CheckpointFolder> checkpoints = list_checkpoints(run_dir);
  std::vector<CheckpointFolder> superfluous;
  for (std::size_t i = 0; i < checkpoints.size(); ++i) {
    if (reason_to_keep(rules, checkpoints[i].step, checkpoints.size() - 1 - i).empty()) {
      superfluous.push_back(checkpoints[i]);
    }
  }
  return superfluous;
}

std::vector<CheckpointFolder> prune_checkpoints(const fs::path& run_dir, const KeepRules& rules) {
  std::vector<CheckpointFolder> removed;
  for (const CheckpointFolder& checkpoint : checkpoints_to_prune(run_dir, rules)) {
    const fs::path& path = checkpoint.path;
    const fs::path trash = path.parent_path() / (std::string(kTrashPrefix) + path.filename().string());
    std::error_code error;
    fs::rename(path, trash, error);
    if (!error) fs::remove_all(trash, error);
    if (error) {
      LOG(WARNING) << "cannot remove the old checkpoint " << path.string() << ": " << error.message();
    } else {
      removed.push_back(checkpoint);
    }
  }
  return removed;
}

std::vector<fs::path> set_later_checkpoints_aside(const fs::path& run_dir, std::int64_t step) {
  std::vector<fs::path> places;
  for (const CheckpointFolder& checkpoint : std::views::reverse(list_checkpoints(run_dir))) {  // the newest first
    if (checkpoint.step <= step) break;
    const std::string name = std::string(kSetAsidePrefix) + checkpoint.path.filename().string();
    fs::path place = checkpoints_dir(run_dir) / name;
    for (int number = 2; fs::exists(place); ++number)
      place = checkpoints_dir(run_dir) / fmt::format("{}-{}", name, number);
    std::error_code error;
    fs::rename(checkpoint.path, place, error);
    require(!error, "cannot rename {} to {}: {}", checkpoint.path.string(), place.string(), error.message());
    places.push_back(place);
  }
  if (!places.empty()) sync_folder(checkpoints_dir(run_dir));
  return places;
}

}  // namespace mudelta
