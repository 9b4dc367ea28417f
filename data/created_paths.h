#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "data/tokenizers/stored_tokenizer.h"

namespace mudelta {

// Throws Error if a folder for a new data set is not named, or holds one already.
void require_no_dataset(const std::filesystem::path& folder);

// Files and folders that did not exist before; unless kept, they are removed again, the newest first.
class CreatedPaths {
 public:
  CreatedPaths() = default;
  ~CreatedPaths();
  CreatedPaths(const CreatedPaths&) = delete;
  CreatedPaths& operator=(const CreatedPaths&) = delete;

  void add(const std::filesystem::path& path) { paths_.push_back(path); }
  void keep() { paths_.clear(); }

  // These throw Error, naming the path.
  void create_folder(const std::filesystem::path& folder);
  void write(const std::filesystem::path& path, std::string_view text);
  // The tokenizer's file, if it has one. It may be there already: the one that the user named.
  void save(const StoredTokenizer& stored, const std::filesystem::path& folder);

 private:
  std::vector<std::filesystem::path> paths_;
};

}  // namespace mudelta
