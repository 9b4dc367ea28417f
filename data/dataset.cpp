#include "data/dataset.h"

#include <glog/logging.h>

#include <algorithm>
#include <deque>
#include <optional>
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
  std::int64_t begin, end;  // its tokens in the stream
  const ShardLayout* layout;
  std::int64_t first_token;          // of the file, the one at `begin`
  std::unique_ptr<FileReader> file;  // null while it is not open
};

std::unique_ptr<FileReader> open_shard(const std::filesystem::path& folder, const DatasetInfo::ShardInfo& info,
                                       const ShardLayout& layout) {
  auto file = std::make_unique<FileReader>(folder / info.file);
  const std::int64_t num_tokens = shard_num_tokens(*file, layout);
  if (info.format.empty()) {
    require(num_tokens == info.num_tokens, "shard {} holds {} tokens, expected {} as dataset.json says",
            file->path().string(), num_tokens, info.num_tokens);
  } else {
    require(num_tokens - info.first_token >= info.num_tokens,
            "{} holds {} tokens, expected at least {} from number {} on, as dataset.json says", file->path().string(),
            num_tokens, info.num_tokens, info.first_token);
  }
  return file;
}

}  // namespace

struct Dataset::Impl {
  std::filesystem::path folder;
  std::string description;
  DatasetInfo info;
  double bytes_per_token_byte = 1;
  std::optional<StoredTokenizer> tokenizer;  // once it was asked for
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
  impl_->folder = folder;
  impl_->info = read_dataset_info(folder);
  const DatasetInfo::Bytes& bytes = train ? impl_->info.train_bytes : impl_->info.validation_bytes;
  if (bytes.tokens > 0) {
    impl_->bytes_per_token_byte = static_cast<double>(bytes.text) / static_cast<double>(bytes.tokens);
  }
  const auto& listed = train ? impl_->info.train : impl_->info.validation;
  require(!listed.empty(), "{} lists no {} shard, expected at least one", dataset_info_path(folder).string(),
          train ? "train" : "validation");
  for (const auto& info : listed) {
    const ShardLayout& layout = layout_of(impl_->info, info);
    open_shard(folder, info, layout);
    impl_->shards.push_back(
        {folder / info.file, num_tokens(), num_tokens() + info.num_tokens, &layout, info.first_token, nullptr});
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
  std::vector<std::byte> bytes;
  auto shard = std::ranges::upper_bound(impl_->shards, begin, {}, &Shard::end);
  for (; begin < end; ++shard) {
    const auto part = out.first(static_cast<std::size_t>(std::min(end, shard->end) - begin));
    const ShardLayout& layout = *shard->layout;
    bytes.resize(part.size() * static_cast<std::size_t>(layout.token_bytes));
    impl_->open(*shard).read(layout.num_bytes(shard->first_token + begin - shard->begin), bytes);
    read_ids(bytes, layout, part);
    check_ids(part, impl_->info.vocab_size, shard->path);
    out = out.subspan(part.size());
    begin += std::ssize(part);
  }
}

const StoredTokenizer& Dataset::tokenizer() const {
  if (!impl_->tokenizer) impl_->tokenizer = load_tokenizer(impl_->folder, impl_->info.tokenizer);
  return *impl_->tokenizer;
}

double Dataset::num_bytes(std::span<const std::int32_t> tokens) const {
  std::int64_t bytes = 0;
  for (const std::int32_t token : tokens) bytes += tokenizer().tokenizer->num_bytes(token);
  return static_cast<double>(bytes) * impl_->bytes_per_token_byte;
}

void verify_shard(const std::filesystem::path& folder, const DatasetInfo& info, const DatasetInfo::ShardInfo& shard,
                  const std::function<void(std::int64_t num_bytes)>& progress) {
  const ShardLayout& layout = layout_of(info, shard);
  const auto file = open_shard(folder, shard, layout);
  Checksum checksum;
  if (shard.format.empty()) {
    std::vector<std::byte> header(static_cast<std::size_t>(layout.header_bytes));
    file->read(0, header);
    checksum.append(header);
    if (progress) progress(layout.header_bytes);
  }
  std::string out_of_range;  // told if the checksum does not tell of damage
  for_each_block(*file, layout, shard.first_token, shard.first_token + shard.num_tokens,
                 [&](std::span<const std::byte> bytes, std::span<const std::int32_t> tokens) {
                   checksum.append(bytes);
                   try {
                     check_ids(tokens, info.vocab_size, file->path());
                   } catch (const Error& error) {
                     out_of_range = error.what();
                   }
                   if (progress) progress(std::ssize(bytes));
                 });
  require(checksum.digits() == shard.xxh64, "shard {} is damaged: its xxh64 is {}, expected {} as dataset.json says",
          file->path().string(), checksum.digits(), shard.xxh64);
  require(out_of_range.empty(), "{}", out_of_range);
}

}  // namespace mudelta
