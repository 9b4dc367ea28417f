#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "core/files/file_reader.h"
#include "core/files/file_writer.h"

namespace mudelta {

// A shard is a file in the .bin layout of llm.c: a header of 256 little-endian int32 (magic, version, number of tokens,
// then zeros) and the tokens as little-endian uint16.
constexpr std::int32_t kShardMagic = 20240520;
constexpr std::int32_t kShardVersion = 1;
constexpr std::int64_t kShardHeaderBytes = 256 * sizeof(std::int32_t);
constexpr std::int64_t kShardTokenBytes = sizeof(std::uint16_t);
constexpr std::int32_t kShardMaxVocab = 65536;
constexpr std::int64_t shard_num_bytes(std::int64_t num_tokens) {
  return kShardHeaderBytes + num_tokens * kShardTokenBytes;
}

// The number of tokens of a shard. Throws Error, naming the file, what it has and what was expected, if the file is
// shorter than a header, has another magic or version, holds no token, or is not as long as its header says.
std::int64_t shard_num_tokens(const FileReader& file);

class ShardWriter {
 public:
  explicit ShardWriter(const std::filesystem::path& path);

  // Ids must be in [0, kShardMaxVocab).
  void append(std::span<const std::int32_t> tokens);
  std::int64_t num_tokens() const { return num_tokens_; }
  // Writes what is left and the header, and gives the file its name.
  void commit();

 private:
  void flush();

  FileWriter file_;
  std::vector<std::uint16_t> buffer_;
  std::int64_t num_tokens_ = 0;
};

}  // namespace mudelta
