#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "core/files/file_reader.h"
#include "core/files/file_writer.h"

namespace mudelta {

// A shard is a file in one of llm.c's .bin layouts: a header of 256 little-endian int32 (magic, version, number of
// tokens, then zeros) and the tokens, as little-endian uint16 or, where ids need it, uint32.
struct ShardLayout {
  std::int32_t magic, version;
  std::int64_t token_bytes;

  constexpr std::int64_t num_bytes(std::int64_t num_tokens) const { return kHeaderBytes + num_tokens * token_bytes; }

  static constexpr std::int64_t kHeaderBytes = 256 * sizeof(std::int32_t);
};
constexpr ShardLayout kShard16 = {20240520, 1, 2}, kShard32 = {20240801, 7, 4};

constexpr const ShardLayout& shard_layout(std::int32_t vocab_size) { return vocab_size <= 65536 ? kShard16 : kShard32; }

// The number of tokens of a shard. Throws Error, naming the file, what it has and what was expected, if the file is
// shorter than a header, has another magic or version, holds no token, or is not as long as its header says.
std::int64_t shard_num_tokens(const FileReader& file, const ShardLayout& layout);

// Widens ids as a shard has them. `bytes` holds a whole number of them, `tokens` has room for as many.
void read_ids(std::span<const std::byte> bytes, const ShardLayout& layout, std::span<std::int32_t> tokens);

class ShardWriter {
 public:
  explicit ShardWriter(const std::filesystem::path& path, const ShardLayout& layout = kShard16);

  // Ids must fit into the layout.
  void append(std::span<const std::int32_t> tokens);
  std::int64_t num_tokens() const { return num_tokens_; }
  // Writes what is left and the header, and gives the file its name.
  void commit();

 private:
  void flush();

  FileWriter file_;
  const ShardLayout& layout_;
  std::vector<std::byte> buffer_;
  std::int64_t num_tokens_ = 0;
};

}  // namespace mudelta
