#include "data/dataset.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <utility>

#include "core/error.h"
#include "core/files/checksum.h"
#include "core/files/file_reader.h"
#include "data/dataset_info.h"
#include "data/shard.h"

namespace mudelta {
namespace {

constexpr std::size_t kMaxOpenShards = 64;  // far below what a system allows a process

struct Shard {
  std::filesystem::path path;
  std::int64_t begin, end;           // its tokens in the stream
  std::unique_ptr<FileReader> file;  // null while it is not open
};

std::unique_ptr<FileReader> open_shard(const std::filesystem::path& folder, const DatasetInfo::ShardInfo& info) {
  auto file = std::make_unique<FileReader>(folder / info.file);
  const std::int64_t num_tokens = shard_num_tokens(*file);
  require(num_tokens == info.num_tokens, "shard {} holds {} tokens, expected {} as dataset.json says",
          file->path().string(), num_tokens, info.num_tokens);
  return file;
}

std::uint16_t largest_id(std::span<const std::byte> tokens) {
  std::uint16_t largest = 0;
  for (; !tokens.empty(); tokens = tokens.subspan(kShardTokenBytes)) {
    std::uint16_t id;
    std::memcpy(&id, tokens.data(), sizeof(id));
    largest = std::max(largest, id);
  }
  return largest;
}

void check_id(std::uint16_t largest, std::int32_t vocab_size, const std::filesystem::path& shard) {
  require(largest < vocab_size, "shard {} holds token id {}, expected ids below {}", shard.string(), largest,
          vocab_size);
}

}  // namespace

struct Dataset::Impl {
  std::string description;
  DatasetInfo info;
  std::vector<Shard> shards;
  std::deque<Shard*> open_shards;  // the one opened first in front

  const FileReader& open(Shard& shard) {
    if (!shard.file) {
      if (open_shards.size() == kMaxOpenShards) {
        open_shards.front()->file.reset();
        open_shards.pop_front();
      }
      shard.file = std::make_unique<FileReader>(shard.path);
      open_shards.push_back(&shard);
    }
    return *shard.file;
  }
};

Dataset::Dataset(const std::filesystem::path& folder, Split split) : impl_(std::make_unique<Impl>()) {
  const bool train = split == Split::kTrain;
  impl_->description = fmt::format("the {} split of {}", train ? "train" : "validation", folder.string());
  impl_->info = read_dataset_info(folder);
  const auto& listed = train ? impl_->info.train : impl_->info.validation;
  require(!listed.empty(), "{} lists no {} shard, expected at least one", dataset_info_path(folder).string(),
          train ? "train" : "validation");
  for (const auto& info : listed) {
    open_shard(folder, info);
    impl_->shards.push_back({folder / info.file, num_tokens(), num_tokens() + info.num_tokens, nullptr});
  }
}

Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;

const DatasetInfo& Dataset::info() const { return impl_->info; }

std::string Dataset::to_string() const { return impl_->description; }

std::int64_t Dataset::num_tokens() const { return impl_->shards.empty() ? 0 : impl_->shards.back().end; }

void Dataset::read(std::int64_t begin, std::span<std::int32_t> out) const {
  const std::int64_t end = begin + std::ssize(out);
  CHECK(0 <= begin && end <= num_tokens()) << "tokens [" << begin << ", " << end << ") of " << num_tokens();
  std::vector<std::uint16_t> tokens;
  auto shard = std::ranges::upper_bound(impl_->shards, begin, {}, &Shard::end);
  for (; begin < end; ++shard) {
    tokens.resize(static_cast<std::size_t>(std::min(end, shard->end) - begin));
    const FileReader& file = impl_->open(*shard);
    file.read(kShardHeaderBytes + (begin - shard->begin) * kShardTokenBytes, std::as_writable_bytes(std::span(tokens)));
    check_id(std::ranges::max(tokens), impl_->info.vocab_size, shard->path);
    std::ranges::copy(tokens, out.begin());
    out = out.subspan(tokens.size());
    begin += std::ssize(tokens);
  }
}

void verify_shard(const std::filesystem::path& folder, const DatasetInfo& info, const DatasetInfo::ShardInfo& shard,
                  const std::function<void(std::int64_t num_bytes)>& progress) {
  const auto file = open_shard(folder, shard);
  Checksum checksum;
  std::uint16_t largest = 0;
  std::int64_t header_bytes = kShardHeaderBytes;  // in front of the block's tokens
  file->for_each_block([&](std::span<const std::byte> block) {
    checksum.append(block);
    largest = std::max(largest, largest_id(block.subspan(static_cast<std::size_t>(std::exchange(header_bytes, 0)))));
    if (progress) progress(std::ssize(block));
  });
  require(checksum.digits() == shard.xxh64, "shard {} is damaged: its xxh64 is {}, expected {} as dataset.json says",
          file->path().string(), checksum.digits(), shard.xxh64);
  check_id(largest, info.vocab_size, file->path());
}

}  // namespace mudelta
