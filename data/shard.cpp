#include "data/shard.h"

#include <array>
#include <bit>

#include "core/error.h"

namespace mudelta {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are read and written as they lie in memory");

constexpr std::size_t kBufferTokens = 1 << 20;

using Header = std::array<std::int32_t, 256>;
static_assert(sizeof(Header) == kShardHeaderBytes);

}  // namespace

std::int64_t shard_num_tokens(const FileReader& file) {
  const std::string path = file.path().string();
  const std::int64_t num_bytes = file.num_bytes();
  require(num_bytes >= kShardHeaderBytes, "shard {} has {} bytes, expected a header of {} bytes and tokens", path,
          num_bytes, kShardHeaderBytes);
  Header header;
  file.read(0, std::as_writable_bytes(std::span(header)));
  const auto [magic, version, num_tokens] = std::array{header[0], header[1], header[2]};
  require(magic == kShardMagic, "{} is not a token shard: its magic number is {}, expected {}", path, magic,
          kShardMagic);
  require(version == kShardVersion, "shard {} has format version {}, expected {}", path, version, kShardVersion);
  require(num_tokens > 0, "shard {} holds {} tokens, expected at least one", path, num_tokens);
  const std::int64_t expected_bytes = shard_num_bytes(num_tokens);
  require(num_bytes == expected_bytes, "shard {} has {} bytes, expected {} for the {} tokens of its header", path,
          num_bytes, expected_bytes, num_tokens);
  return num_tokens;
}

ShardWriter::ShardWriter(const std::filesystem::path& path) : file_(path) {
  buffer_.reserve(kBufferTokens);
  const Header placeholder{};
  file_.append(std::as_bytes(std::span(placeholder)));
}

void ShardWriter::append(std::span<const std::int32_t> tokens) {
  for (const std::int32_t token : tokens) {
    if (buffer_.size() == kBufferTokens) flush();
    buffer_.push_back(static_cast<std::uint16_t>(token));
  }
  num_tokens_ += static_cast<std::int64_t>(tokens.size());
}

void ShardWriter::commit() {
  flush();
  const Header header{kShardMagic, kShardVersion, static_cast<std::int32_t>(num_tokens_)};
  file_.overwrite(0, std::as_bytes(std::span(header)));
  file_.commit();
}

void ShardWriter::flush() {
  file_.append(std::as_bytes(std::span(buffer_)));
  buffer_.clear();
}

}  // namespace mudelta
