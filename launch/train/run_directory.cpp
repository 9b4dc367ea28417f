#include "launch/train/run_directory.h"

#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/file_writer.h"
#include "launch/job/folder_lock.h"

namespace mudelta {
namespace {

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  require(!error, "cannot create the folder {}: {}", folder.string(), error.message());
}

// Whether the folder has anything in it but a lock and what a crash in RunDirectory::create may have left.
bool has_other_files(const RunDirectory& run) {
  std::error_code error;
  std::filesystem::directory_iterator entries(run.root(), error);
  require(!error, "cannot read the folder {}: {}", run.root().string(), error.message());
  for (const auto& entry : entries) {
    if (entry.path().filename() == FolderLock::kFileName) continue;
    if (!is_temporary_of(run.config(), entry.path())) return true;
  }
  return false;
}

}  // namespace

RunDirectory::RunDirectory(std::filesystem::path root) : root_(std::move(root)) {
  require(!root_.empty(), "the run directory has no name: expected a folder, as in --out runs/first");
}

bool RunDirectory::holds_run() const {
  std::error_code error;
  return std::filesystem::exists(config(), error);
}

void RunDirectory::check(bool resume) const {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(root_, error);
  if (status.type() == std::filesystem::file_type::not_found) return;
  require(std::filesystem::status_known(status), "cannot look into {}: {}", root_.string(), error.message());
  require(std::filesystem::is_directory(status), "{} is not a folder: expected an absent or empty folder for the run",
          root_.string());
  if (holds_run()) {
    require(resume, "{} holds a run already: give --resume to continue it, or another --out", root_.string());
    return;
  }
  require(!has_other_files(*this), "{} is not empty and holds no run: expected an absent or empty folder",
          root_.string());
}

void RunDirectory::make() const { make_folder(root_); }

void RunDirectory::create(std::string_view config_text, std::int64_t steps_done) const {
  make();
  if (holds_run()) {
    const std::string before = read_file(config());
    if (before != config_text) keep_config(before, steps_done);
  }
  // First of all, so that the folder is known for a run's from then on.
  for (const std::filesystem::path& file : {config(), metrics()}) remove_temporaries_of(file);
  write_file_atomically(config(), config_text);
  make_folder(checkpoints());
  make_folder(log());
}

void RunDirectory::keep_config(std::string_view text, std::int64_t steps_done) const {
  for (int number = 1;; ++number) {
    const std::string suffix = number > 1 ? fmt::format("-{}", number) : "";
    const std::filesystem::path kept = root_ / fmt::format("config-until-step-{:08}{}.textproto", steps_done, suffix);
    if (!std::filesystem::exists(kept)) return write_file_atomically(kept, text);
    if (read_file(kept) == text) return;  // a crash left both
  }
}

}  // namespace mudelta
