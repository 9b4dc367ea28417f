#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "core/files/file_reader.h"
#include "core/files/file_writer.h"

namespace mudelta {

// How a file holds tokens: as little-endian integers of 2 or 4 bytes, after a header or none. A shard that we write has
// one of llm.c's .bin layouts: a header of 256 little-endian int32 (magic, version, number of tokens, then zeros) and
// the tokens, as uint16 or, where ids need it, uint32. Megatron's .bin files have no header.
struct ShardLayout {
  std::string_view name;
  std::int32_t magic, version;
  std::int64_t token_bytes, header_bytes;

  // Of a file of so many tokens; also where the token of that number begins.
  constexpr std::int64_t num_bytes(std::int64_t num_tokens) const { return header_bytes + num_tokens * token_bytes; }
};
constexpr std::int64_t kShardHeaderBytes = 256 * sizeof(std::int32_t);
constexpr ShardLayout kShard16 = {"llm.c uint16", 20240520, 1, 2, kShardHeaderBytes},
                      kShard32 = {"llm.c uint32", 20240801, 7, 4, kShardHeaderBytes},
                      kMegatron16 = {"megatron uint16", 0, 0, 2, 0}, kMegatron32 = {"megatron int32", 0, 0, 4, 0};

constexpr const ShardLayout& shard_layout(std::int32_t vocab_size) { return vocab_size <= 65536 ? kShard16 : kShard32; }

// Throws Error, naming those that there are, if none has the name.
const ShardLayout& shard_layout_named(std::string_view name);

// The number of tokens of a file. Throws Error, naming the file, what it has and what was expected, if the file is
// shorter than a header, has another magic or version, holds no token, or is not as long as its header says, or as a
// number of tokens is.
std::int64_t shard_num_tokens(const FileReader& file, const ShardLayout& layout);

// Widens ids as a shard has them. `bytes` holds a whole number of them, `tokens` has room for as many.
void read_ids(std::span<const std::byte> bytes, const ShardLayout& layout, std::span<std::int32_t> tokens);

// Reads tokens [begin, end) a block at a time. Throws Error as FileReader::read.
void for_each_block(
    const FileReader& file, const ShardLayout& layout, std::int64_t begin, std::int64_t end,
    const std::function<void(std::span<const std::byte> bytes, std::span<const std::int32_t> tokens)>& visit);

// Throws Error, naming the file, on an id that is not in [0, vocab_size).
void check_ids(std::span<const std::int32_t> ids, std::int32_t vocab_size, const std::filesystem::path& file);

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
