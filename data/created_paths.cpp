#include "data/created_paths.h"

#include <span>
#include <string>
#include <system_error>

#include "core/error.h"
#include "core/files/file_reader.h"
#include "core/files/file_writer.h"
#include "data/dataset_info.h"

namespace mudelta {

namespace fs = std::filesystem;

void require_no_dataset(const fs::path& folder) {
  require(!folder.empty(), "no output folder was given");
  std::error_code ignored;
  require(!fs::exists(dataset_info_path(folder), ignored),
          "{} holds a data set already, expected a new or empty folder", folder.string());
}

CreatedPaths::~CreatedPaths() {
  std::error_code ignored;
  for (; !paths_.empty(); paths_.pop_back()) fs::remove(paths_.back(), ignored);
}

void CreatedPaths::create_folder(const fs::path& folder) {
  std::error_code error;
  if (folder.empty() || fs::is_directory(folder, error)) return;
  create_folder(folder.parent_path());
  if (fs::create_directory(folder, error)) add(folder);
  require(!error, "cannot create the folder {}: {}", folder.string(), error.message());
}

void CreatedPaths::write(const fs::path& path, std::string_view text) {
  FileWriter file(path);
  file.append(std::as_bytes(std::span(text)));
  file.commit();
  add(path);
}

void CreatedPaths::save(const StoredTokenizer& stored, const fs::path& folder) {
  const std::string name = stored.id.file_name();
  std::error_code ignored;
  if (name.empty()) return;
  if (fs::exists(folder / name, ignored)) {
    require(FileReader(folder / name).text() == stored.content, "{} holds another {} already", folder.string(), name);
  } else {
    write(folder / name, stored.content);
  }
}

}  // namespace mudelta
