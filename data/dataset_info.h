#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/shard.h"

namespace mudelta {

std::filesystem::path dataset_info_path(const std::filesystem::path& folder);  // FOLDER/dataset.json

// Throws Error, naming the file and the first thing wrong with it.
DatasetInfo read_dataset_info(const std::filesystem::path& folder);

const ShardLayout& layout_of(const DatasetInfo& info, const DatasetInfo::ShardInfo& shard);
// That verify_shard reads.
std::int64_t num_bytes_of(const DatasetInfo& info, const DatasetInfo::ShardInfo& shard);

std::vector<DatasetInfo::ShardInfo> all_shards(const DatasetInfo& info);  // of both splits

std::string to_json(const DatasetInfo& info);

}  // namespace mudelta
