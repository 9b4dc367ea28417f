#include "launch/interop/new_folder.h"

#include <glog/logging.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <system_error>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "launch/job/output_path.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

// Of files that a folder with a model may hold.
constexpr std::array<std::string_view, 6> kModelSuffixes = {".safetensors", ".json", ".textproto",
                                                            ".model",       ".txt",  ".tiktoken"};

bool is_model_file(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename().string();
  return entry.is_regular_file() &&
         std::ranges::any_of(kModelSuffixes, [&](std::string_view suffix) { return name.ends_with(suffix); });
}

// --force must not cost more than a model.
void require_model_only(const fs::path& folder) {
  if (!fs::exists(folder) || fs::is_empty(folder)) return;
  bool has_weights = false;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    require(is_model_file(entry), "{} holds {}: --force replaces a folder that holds a model and nothing else",
            folder.string(), entry.path().filename().string());
    has_weights = has_weights || entry.path().extension() == ".safetensors";
  }
  require(has_weights, "{} holds no .safetensors file: --force replaces a folder that holds a model and nothing else",
          folder.string());
}

// Makes PATH.SUFFIX-PROCESS-NUMBER, which was not there.
fs::path make_beside(const fs::path& path, std::string_view suffix) {
  for (int number = 0;; ++number) {
    fs::path name = path;
    name += fmt::format(".{}-{}-{}", suffix, ::getpid(), number);
    if (fs::create_directory(name)) return name;
  }
}

fs::path without_trailing_slash(const fs::path& path) {
  const fs::path normal = path.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

}  // namespace

NewFolder::NewFolder(const fs::path& path, bool force) : path_(without_trailing_slash(path)) {
  require_free_folder(path_, force);
  try {
    if (force) require_model_only(path_);
    if (path_.has_parent_path()) make_folder(path_.parent_path());
    temporary_ = make_beside(path_, "tmp");
  } catch (const fs::filesystem_error& error) {
    fail("cannot write {}: {}", path_.string(), error.code().message());
  }
}

NewFolder::~NewFolder() {
  if (temporary_.empty()) return;
  std::error_code error;
  fs::remove_all(temporary_, error);
  LOG_IF(WARNING, error) << "cannot remove " << temporary_.string() << ": " << error.message();
}

void NewFolder::commit() {
  sync_folder(temporary_);
  try {
    fs::path replaced;
    if (fs::exists(path_)) {  // a folder takes the place of an empty one alone
      replaced = make_beside(path_, "old");
      fs::rename(path_, replaced);
    }
    fs::rename(temporary_, path_);
    temporary_.clear();
    sync_folder(path_.parent_path());
    if (!replaced.empty()) fs::remove_all(replaced);
  } catch (const fs::filesystem_error& error) {
    fail("cannot write {}: {}", path_.string(), error.what());
  }
}

}  // namespace mudelta
