#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "data/tokenizers/stored_tokenizer.h"

namespace mudelta {

// What `dataset.json` says of a prepared folder.
struct DatasetInfo {
  struct ShardInfo {
    std::string file;  // in the folder
    std::int64_t num_tokens;
    std::string xxh64;  // of the whole file, 16 hexadecimal digits
    // Of a file that another program made and that is used where it is (data/adopt.h): the name of its layout, and the
    // number of its first token that is meant. `file` is an absolute path, `xxh64` of these tokens' bytes.
    std::string format = {};
    std::int64_t first_token = 0;
  };
  // Of a split. They differ where a tokenizer changes the text: Unicode forms, spaces at its start.
  struct Bytes {
    std::int64_t text = 0;    // of its documents
    std::int64_t tokens = 0;  // that its tokens stand for
  };
  TokenizerId tokenizer;
  std::int32_t vocab_size = 0;
  std::int32_t separator = 0;
  std::vector<ShardInfo> train, validation;
  Bytes train_bytes, validation_bytes;  // 0 where they do not differ
};

enum class Split { kTrain, kValidation };

// The tokens of one split of a prepared folder: shards (data/shard.h), seen as one stream. For one thread.
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
  // Copies tokens [begin, begin + out.size()). Throws Error, naming the shard, on an id >= vocab_size, or if it has
  // been cut short or cannot be read.
  void read(std::int64_t begin, std::span<std::int32_t> out) const;

  // Read when it is first asked for. Throws Error as load_tokenizer.
  const StoredTokenizer& tokenizer() const;
  // Bytes of text that tokens of the split stand for: exact of the whole split, and of any part of it where the
  // tokenizer does not change the text. Throws Error as `tokenizer`.
  double num_bytes(std::span<const std::int32_t> tokens) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Reads a shard of a prepared folder whole. Throws Error, naming it, unless its size, header, number of tokens, ids and
// checksum are as `info` says, which is the folder's. Calls progress(bytes) after each part; what that throws ends it.
void verify_shard(const std::filesystem::path& folder, const DatasetInfo& info, const DatasetInfo::ShardInfo& shard,
                  const std::function<void(std::int64_t num_bytes)>& progress);

}  // namespace mudelta
