#include "data/dataset.h"

#include <glog/logging.h>

#include <algorithm>

#include "core/error.h"
#include "data/dataset_info.h"
#include "data/mapped_file.h"
#include "data/shard.h"

namespace mudelta {
namespace {

struct Shard {
  MappedFile file;
  std::string xxh64;
  std::span<const std::uint16_t> tokens;
  std::int64_t begin;  // of its tokens in the stream
  std::int64_t end() const { return begin + static_cast<std::int64_t>(tokens.size()); }
};

Shard open_shard(const std::filesystem::path& folder, const DatasetInfo::ShardInfo& info, std::int64_t begin) {
  MappedFile file(folder / info.file);
  const auto tokens = shard_tokens(file);
  require(static_cast<std::int64_t>(tokens.size()) == info.num_tokens,
          "shard {} holds {} tokens, expected {} as dataset.json says", file.path().string(), tokens.size(),
          info.num_tokens);
  return {std::move(file), info.xxh64, tokens, begin};
}

}  // namespace

struct Dataset::Impl {
  std::string description;
  DatasetInfo info;
  std::vector<Shard> shards;
};

Dataset::Dataset(const std::filesystem::path& folder, Split split) : impl_(std::make_unique<Impl>()) {
  const bool train = split == Split::kTrain;
  impl_->description = fmt::format("the {} split of {}", train ? "train" : "validation", folder.string());
  impl_->info = read_dataset_info(folder);
  const auto& listed = train ? impl_->info.train : impl_->info.validation;
  require(!listed.empty(), "{} lists no {} shard, expected at least one", dataset_info_path(folder).string(),
          train ? "train" : "validation");
  for (const auto& info : listed) impl_->shards.push_back(open_shard(folder, info, num_tokens()));
}

Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;

const DatasetInfo& Dataset::info() const { return impl_->info; }

std::string Dataset::to_string() const { return impl_->description; }

std::int64_t Dataset::num_tokens() const { return impl_->shards.empty() ? 0 : impl_->shards.back().end(); }

void Dataset::read(std::int64_t begin, std::span<std::int32_t> out) const {
  const std::int64_t end = begin + static_cast<std::int64_t>(out.size());
  CHECK(0 <= begin && end <= num_tokens()) << "tokens [" << begin << ", " << end << ") of " << num_tokens();
  auto shard = std::ranges::upper_bound(impl_->shards, begin, {}, &Shard::end);
  for (; begin < end; ++shard) {
    const auto count = static_cast<std::size_t>(std::min(end, shard->end()) - begin);
    const auto tokens = shard->tokens.subspan(static_cast<std::size_t>(begin - shard->begin), count);
    const std::int32_t largest = std::ranges::max(tokens);
    require(largest < impl_->info.vocab_size, "shard {} holds token id {}, expected ids below {}",
            shard->file.path().string(), largest, impl_->info.vocab_size);
    std::ranges::copy(tokens, out.begin());
    out = out.subspan(count);
    begin += static_cast<std::int64_t>(count);
  }
}

void Dataset::verify_checksums() const {
  for (const Shard& shard : impl_->shards) {
    const std::string found = xxh64_of(shard.file.bytes());
    require(found == shard.xxh64, "shard {} is damaged: its xxh64 is {}, expected {} as dataset.json says",
            shard.file.path().string(), found, shard.xxh64);
  }
}

}  // namespace mudelta
