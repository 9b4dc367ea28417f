#include "data/foreign_tokens.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "core/error.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

constexpr std::string_view kIndexMagic = "MMIDIDX\0\0"sv;
constexpr std::int64_t kIndexHeaderBytes = 34;  // magic, version, dtype, two counts

template <class T>
T value_at(const FileReader& file, std::int64_t begin) {
  T value;
  file.read(begin, std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

// An array of a file, read a block at a time as its elements are asked for in their order.
template <class T>
class ArrayReader {
 public:
  ArrayReader(const FileReader& file, std::int64_t begin, std::int64_t size)
      : file_(file), begin_(begin), left_(size) {}

  T next() {
    if (at_ == block_.size()) {
      block_.resize(static_cast<std::size_t>(std::min<std::int64_t>(left_, 1 << 16)));
      const auto bytes = std::as_writable_bytes(std::span(block_));
      file_.read(begin_, bytes);
      begin_ += std::ssize(bytes);
      left_ -= std::ssize(block_);
      at_ = 0;
    }
    return block_[at_++];
  }

 private:
  const FileReader& file_;
  std::int64_t begin_, left_;
  std::vector<T> block_;
  std::size_t at_ = 0;
};

const ShardLayout& layout_of_code(const FileReader& index) {
  constexpr std::uint8_t kInt32 = 4, kUint16 = 8;
  const auto code = value_at<std::uint8_t>(index, 17);
  require(code == kInt32 || code == kUint16, "{}: the type of its tokens is {}, expected {} (uint16) or {} (int32)",
          index.path().string(), code, kUint16, kInt32);
  return code == kUint16 ? kMegatron16 : kMegatron32;
}

// The number at `begin` of elements that take `element_bytes` of the file, at least.
std::int64_t count_at(const FileReader& index, std::int64_t begin, std::int64_t element_bytes, std::string_view what) {
  const auto count = value_at<std::uint64_t>(index, begin);
  const auto most = static_cast<std::uint64_t>((index.num_bytes() - kIndexHeaderBytes) / element_bytes);
  require(count <= most, "{}: it says that it has {} {}, expected at most {} in its {} bytes", index.path().string(),
          count, what, most, index.num_bytes());
  return static_cast<std::int64_t>(count);
}

ForeignTokens open_megatron(const fs::path& path) {
  const FileReader index(path);
  const std::string name = path.string();
  require(index.num_bytes() >= kIndexHeaderBytes, "{} has {} bytes, expected at least the {} of a header", name,
          index.num_bytes(), kIndexHeaderBytes);
  require(index.text(std::ssize(kIndexMagic)) == kIndexMagic,
          "{} is no .idx of Megatron: it does not begin with MMIDIDX", name);
  const auto version = value_at<std::uint64_t>(index, 9);
  require(version == 1, "{}: its version is {}, expected 1", name, version);

  const FileReader bin(fs::path(path).replace_extension(".bin"));
  ForeignTokens tokens{.file = fs::absolute(bin.path()), .layout = &layout_of_code(index)};
  const std::int64_t token_bytes = tokens.layout->token_bytes;
  tokens.num_tokens = shard_num_tokens(bin, *tokens.layout);

  const std::int64_t sequences = count_at(index, 18, 12, "sequences"), boundaries = count_at(index, 26, 8, "documents");
  const std::int64_t expected = kIndexHeaderBytes + 12 * sequences + 8 * boundaries;
  require(index.num_bytes() == expected || index.num_bytes() == expected + sequences,  // with modes
          "{} has {} bytes, expected {} for {} sequences and {} document boundaries", name, index.num_bytes(), expected,
          sequences, boundaries);
  require(boundaries >= 1, "{}: it has no document boundary, expected at least one", name);

  ArrayReader<std::int32_t> lengths(index, kIndexHeaderBytes, sequences);
  ArrayReader<std::int64_t> offsets(index, kIndexHeaderBytes + 4 * sequences, sequences);
  ArrayReader<std::int64_t> documents(index, kIndexHeaderBytes + 12 * sequences, boundaries);
  std::int64_t boundary = documents.next(), boundaries_left = boundaries - 1, position = 0;
  require(boundary == 0, "{}: its first document begins at sequence {}, expected 0", name, boundary);
  const auto end_documents = [&](std::int64_t sequence) {  // those that end before it
    while (boundaries_left > 0 && boundary <= sequence) {
      const std::int64_t next = documents.next();
      --boundaries_left;
      require(boundary <= next && next <= sequences,
              "{}: a document begins at sequence {} and ends at {}, expected an end from there to {}", name, boundary,
              next, sequences);
      boundary = next;
    }
  };
  for (std::int64_t i = 0; i < sequences; ++i) {
    const std::int64_t length = lengths.next(), offset = offsets.next();
    require(length >= 0, "{}: sequence {} has {} tokens, expected 0 or more", name, i, length);
    require(offset == position * token_bytes,
            "{}: sequence {} begins at byte {}, expected {}, where the one before it ends", name, i, offset,
            position * token_bytes);
    end_documents(i);
    position += length;
    require(position <= tokens.num_tokens, "{}: sequence {} ends at token {}, expected at most {}, as {} has", name, i,
            position, tokens.num_tokens, bin.path().string());
    const bool is_last = boundary == i + 1;
    if (is_last && (tokens.document_ends.empty() ? position > 0 : position > tokens.document_ends.back())) {
      tokens.document_ends.push_back(position);
    }
  }
  end_documents(sequences);
  require(boundary == sequences && boundaries_left == 0,
          "{}: its documents end at sequence {} of {}, with {} boundaries left, expected at the last", name, boundary,
          sequences, boundaries_left);
  require(position == tokens.num_tokens, "{}: its sequences have {} tokens, {} has {}", name, position,
          bin.path().string(), tokens.num_tokens);
  return tokens;
}

ForeignTokens open_llm_c(const fs::path& path) {
  const FileReader file(path);
  constexpr std::int64_t kMagicBytes = 4;
  const auto magic = file.num_bytes() >= kMagicBytes ? value_at<std::int32_t>(file, 0) : 0;
  const ShardLayout& layout = magic == kShard32.magic ? kShard32 : kShard16;
  std::error_code ignored;
  const fs::path index = fs::path(path).replace_extension(".idx");
  require(magic == layout.magic || !fs::exists(index, ignored), "{} is a .bin of Megatron, it seems: name {} instead",
          path.string(), index.string());
  return {.file = fs::absolute(path), .layout = &layout, .num_tokens = shard_num_tokens(file, layout)};
}

}  // namespace

ForeignTokens open_foreign_tokens(const fs::path& path) {
  return path.extension() == ".idx" ? open_megatron(path) : open_llm_c(path);
}

}  // namespace mudelta
