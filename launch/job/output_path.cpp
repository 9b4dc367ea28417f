#include "launch/job/output_path.h"

#include <algorithm>
#include <system_error>

#include "core/error.h"

namespace mudelta {

namespace fs = std::filesystem;

void require_free_file(const fs::path& file, bool force) {
  std::error_code unknown;
  const fs::file_status status = fs::status(file, unknown);
  require(!fs::is_directory(status), "{} is a folder: expected the name of a file to write", file.string());
  require(force || !fs::is_regular_file(status), "{} exists already: expected a new name, or --force to replace it",
          file.string());
}

void require_free_folder(const fs::path& folder, bool force, std::initializer_list<std::string_view> ignored) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (!fs::exists(status)) return;
  require(fs::is_directory(status), "{} is not a folder: expected an absent or empty folder", folder.string());
  if (force) return;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    require(std::ranges::find(ignored, it->path().filename().string()) != ignored.end(),
            "{} is not empty: expected an absent or empty folder, or --force to write over what it holds",
            folder.string());
  }
  require(!error, "cannot list {}: {}", folder.string(), error.message());
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  require(!error, "cannot create the folder {}: {}", folder.string(), error.message());
}

}  // namespace mudelta
