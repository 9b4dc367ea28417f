#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/checksum.h"
#include "data/dataset.h"
#include "data/dataset_info.h"
#include "data/prepare.h"
#include "data/shard.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {

constexpr std::int32_t kSeparator = 256;  // of the byte tokenizer

inline std::vector<std::int32_t> all_tokens(const Dataset& dataset) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(dataset.num_tokens()));
  dataset.read(0, tokens);
  return tokens;
}

inline std::vector<std::int32_t> all_tokens(const std::filesystem::path& folder, Split split) {
  return all_tokens(Dataset(folder, split));
}

// Texts between separators; what stands before the first separator is left out.
inline std::vector<std::string> documents_of(const std::vector<std::int32_t>& tokens) {
  std::vector<std::string> documents;
  for (const std::int32_t token : tokens) {
    if (token == kSeparator) {
      documents.emplace_back();
    } else if (!documents.empty()) {
      documents.back().push_back(static_cast<char>(token));
    }
  }
  return documents;
}

// A prepared folder whose training split is exactly `tokens`, cut into shards of `shard_tokens`, and its validation
// split `validation`.
inline void write_dataset(const std::filesystem::path& folder, const std::vector<std::int32_t>& tokens,
                          std::int64_t shard_tokens_wanted = 1'000'000, std::int32_t vocab_size = kSeparator + 1,
                          const std::vector<std::int32_t>& validation = {kSeparator}) {
  std::filesystem::create_directories(folder);
  DatasetInfo info{{}, vocab_size, kSeparator, {}, {}};
  const auto write = [&](const std::string& name, std::span<const std::int32_t> part) {
    ShardWriter writer(folder / name, shard_layout(vocab_size));
    writer.append(part);
    writer.commit();
    return DatasetInfo::ShardInfo{name, static_cast<std::int64_t>(part.size()), xxh64_of(FileReader(folder / name))};
  };
  for (std::span<const std::int32_t> rest = tokens; !rest.empty();) {
    const auto part = rest.first(std::min(rest.size(), static_cast<std::size_t>(shard_tokens_wanted)));
    info.train.push_back(write(fmt::format("train_{}.bin", info.train.size()), part));
    rest = rest.subspan(part.size());
  }
  info.validation.push_back(write("validation_0.bin", validation));
  write_file(dataset_info_path(folder), to_json(info));
}

}  // namespace mudelta::testing
