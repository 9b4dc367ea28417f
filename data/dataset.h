#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace mudelta {

// What `dataset.json` says of a prepared folder.
struct DatasetInfo {
  struct ShardInfo {
    std::string file;  // relative to the folder
    std::int64_t num_tokens;
    std::string xxh64;  // of the whole file, 16 hexadecimal digits
  };
  std::string tokenizer;
  std::int32_t vocab_size = 0;
  std::int32_t separator = 0;
  std::vector<ShardInfo> train, validation;
};

enum class Split { kTrain, kValidation };

// The tokens of one split of a prepared folder: memory-mapped shards in the .bin layout of llm.c (256 int32 header:
// magic 20240520, version 1, number of tokens; then uint16 tokens), seen as one stream.
class Dataset {
 public:
  // Throws Error, naming the file and what was expected, if dataset.json or a shard is missing, truncated, empty, of
  // another format, or disagrees with dataset.json in its number of tokens.
  Dataset(const std::filesystem::path& folder, Split split);
  ~Dataset();
  Dataset(Dataset&&) noexcept;

  const DatasetInfo& info() const;
  std::string to_string() const;  // "the train split of FOLDER"
  std::int64_t num_tokens() const;
  // Copies tokens [begin, begin + out.size()). Throws Error, naming the shard, on an id >= vocab_size.
  void read(std::int64_t begin, std::span<std::int32_t> out) const;
  // Reads every shard once and compares its checksum. Throws Error naming the first that differs.
  void verify_checksums() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mudelta
