#include "launch/run_directory.h"

#include <system_error>
#include <utility>

#include "core/error.h"
#include "launch/atomic_file.h"

namespace mudelta {
namespace {

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  require(!error, "cannot create the folder {}: {}", folder.string(), error.message());
}

// Whether `folder` has anything in it but what a crash in RunDirectory::create may have left.
bool has_other_files(const RunDirectory& run) {
  std::error_code error;
  std::filesystem::directory_iterator entries(run.root(), error);
  require(!error, "cannot read the folder {}: {}", run.root().string(), error.message());
  for (const auto& entry : entries) {
    if (entry.path() != run.config().string() + ".tmp") return true;
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

void RunDirectory::create(std::string_view config_text) const {
  make_folder(root_);
  // First of all, so that the folder is known for a run's from then on.
  write_file_atomically(config(), config_text);
  make_folder(checkpoints());
  make_folder(log());
}

}  // namespace mudelta
