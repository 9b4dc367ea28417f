#include "data/shard.h"

#include <array>
#include <bit>
#include <cstring>

#include "core/error.h"

namespace mudelta {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are read and written as they lie in memory");

constexpr std::size_t kBufferBytes = 2 << 20;

using Header = std::array<std::int32_t, 256>;
static_assert(sizeof(Header) == ShardLayout::kHeaderBytes);

template <class Id>
void widen(std::span<const std::byte> bytes, std::span<std::int32_t> tokens) {
  for (std::size_t i = 0; i < bytes.size() / sizeof(Id); ++i) {
    Id id;
    std::memcpy(&id, bytes.data() + i * sizeof(Id), sizeof(Id));
    tokens[i] = static_cast<std::int32_t>(id);
  }
}

}  // namespace

std::int64_t shard_num_tokens(const FileReader& file, const ShardLayout& layout) {
  const std::string path = file.path().string();
  const std::int64_t num_bytes = file.num_bytes();
  require(num_bytes >= ShardLayout::kHeaderBytes, "shard {} has {} bytes, expected a header of {} bytes and tokens",
          path, num_bytes, ShardLayout::kHeaderBytes);
  Header header;
  file.read(0, std::as_writable_bytes(std::span(header)));
  const auto [magic, version, num_tokens] = std::array{header[0], header[1], header[2]};
  require(magic == layout.magic, "{} is not a token shard: its magic number is {}, expected {}", path, magic,
          layout.magic);
  require(version == layout.version, "shard {} has format version {}, expected {}", path, version, layout.version);
  require(num_tokens > 0, "shard {} holds {} tokens, expected at least one", path, num_tokens);
  const std::int64_t expected_bytes = layout.num_bytes(num_tokens);
  require(num_bytes == expected_bytes, "shard {} has {} bytes, expected {} for the {} tokens of its header", path,
          num_bytes, expected_bytes, num_tokens);
  return num_tokens;
}

void read_ids(std::span<const std::byte> bytes, const ShardLayout& layout, std::span<std::int32_t> tokens) {
  layout.token_bytes == 2 ? widen<std::uint16_t>(bytes, tokens) : widen<std::uint32_t>(bytes, tokens);
}

ShardWriter::ShardWriter(const std::filesystem::path& path, const ShardLayout& layout) : file_(path), layout_(layout) {
  buffer_.reserve(kBufferBytes);
  const Header placeholder{};
  file_.append(std::as_bytes(std::span(placeholder)));
}

void ShardWriter::append(std::span<const std::int32_t> tokens) {
  for (const std::int32_t token : tokens) {
    if (buffer_.size() == kBufferBytes) flush();
    const auto bytes = std::as_bytes(std::span(&token, 1)).first(static_cast<std::size_t>(layout_.token_bytes));
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  num_tokens_ += static_cast<std::int64_t>(tokens.size());
}

void ShardWriter::commit() {
  flush();
  const Header header{layout_.magic, layout_.version, static_cast<std::int32_t>(num_tokens_)};
  file_.overwrite(0, std::as_bytes(std::span(header)));
  file_.commit();
}

void ShardWriter::flush() {
  file_.append(buffer_);
  buffer_.clear();
}

}  // namespace mudelta
