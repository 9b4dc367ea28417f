#include "data/shard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/error.h"

namespace mudelta {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are read and written as they lie in memory");

constexpr std::size_t kBufferBytes = 2 << 20;

using Header = std::array<std::int32_t, 256>;
static_assert(sizeof(Header) == kShardHeaderBytes);

constexpr const ShardLayout* kLayouts[] = {&kShard16, &kShard32, &kMegatron16, &kMegatron32};

template <class Id>
void widen(std::span<const std::byte> bytes, std::span<std::int32_t> tokens) {
  for (std::size_t i = 0; i < bytes.size() / sizeof(Id); ++i) {
    Id id;
    std::memcpy(&id, bytes.data() + i * sizeof(Id), sizeof(Id));
    tokens[i] = static_cast<std::int32_t>(id);
  }
}

}  // namespace

const ShardLayout& shard_layout_named(std::string_view name) {
  std::string names;
  for (const ShardLayout* layout : kLayouts) {
    if (layout->name == name) return *layout;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", layout->name);
  }
  fail("a shard's format is \"{}\", expected one of {}", name, names);
}

std::int64_t shard_num_tokens(const FileReader& file, const ShardLayout& layout) {
  const std::string path = file.path().string();
  const std::int64_t num_bytes = file.num_bytes();
  if (layout.header_bytes == 0) {
    require(num_bytes > 0 && num_bytes % layout.token_bytes == 0,
            "{} has {} bytes, expected a multiple of {}: the bytes of a token, of which there is at least one", path,
            num_bytes, layout.token_bytes);
    return num_bytes / layout.token_bytes;
  }
  require(num_bytes >= layout.header_bytes, "shard {} has {} bytes, expected a header of {} bytes and tokens", path,
          num_bytes, layout.header_bytes);
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

void for_each_block(
    const FileReader& file, const ShardLayout& layout, std::int64_t begin, std::int64_t end,
    const std::function<void(std::span<const std::byte> bytes, std::span<const std::int32_t> tokens)>& visit) {
  std::vector<std::byte> bytes;
  std::vector<std::int32_t> tokens;
  const std::int64_t most = FileReader::kBlockBytes / layout.token_bytes;
  for (; begin < end; begin += std::ssize(tokens)) {
    tokens.resize(static_cast<std::size_t>(std::min(most, end - begin)));
    bytes.resize(tokens.size() * static_cast<std::size_t>(layout.token_bytes));
    file.read(layout.num_bytes(begin), bytes);
    read_ids(bytes, layout, tokens);
    visit(bytes, tokens);
  }
}

void check_ids(std::span<const std::int32_t> ids, std::int32_t vocab_size, const std::filesystem::path& file) {
  if (ids.empty()) return;
  const auto [least, largest] = std::ranges::minmax(ids);
  const std::int32_t wrong = least < 0 ? least : largest;  // those of 2^31 and more are negative here
  require(0 <= wrong && wrong < vocab_size, "shard {} holds token id {}, expected ids below {}", file.string(),
          static_cast<std::uint32_t>(wrong), vocab_size);
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
