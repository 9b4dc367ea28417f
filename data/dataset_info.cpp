#include "data/dataset_info.h"

#include "core/error.h"
#include "core/files/file_reader.h"
#include "core/files/json.h"
#include "data/shard.h"

namespace mudelta {
namespace {

constexpr int kVersion = 1;

using Json = nlohmann::ordered_json;

Json shards_to_json(const std::vector<DatasetInfo::ShardInfo>& shards) {
  Json array = Json::array();
  for (const auto& [file, num_tokens, xxh64] : shards) {
    array.push_back({{"file", file}, {"num_tokens", num_tokens}, {"xxh64", xxh64}});
  }
  return array;
}

// Of a folder written by `prepare`; a name with a path would lead out of it.
void check(const DatasetInfo::ShardInfo& shard) {
  const std::filesystem::path name = shard.file;
  require(name.has_filename() && name == name.filename() && name != "." && name != "..",
          "a shard's file is \"{}\", expected the name of a file in this folder", shard.file);
  require(shard.num_tokens > 0, "the shard {} has {} tokens, expected at least one", shard.file, shard.num_tokens);
  const bool is_checksum =
      shard.xxh64.size() == 16 && shard.xxh64.find_first_not_of("0123456789abcdef") == std::string::npos;
  require(is_checksum, "the shard {} has the xxh64 \"{}\", expected 16 hexadecimal digits", shard.file, shard.xxh64);
}

std::vector<DatasetInfo::ShardInfo> shards_from_json(const Json& array) {
  std::vector<DatasetInfo::ShardInfo> shards;
  for (const Json& shard : array) {
    shards.push_back({shard.at("file").get<std::string>(), shard.at("num_tokens").get<std::int64_t>(),
                      shard.at("xxh64").get<std::string>()});
    check(shards.back());
  }
  return shards;
}

DatasetInfo from_json(const Json& json) {
  const int version = json.at("version").get<int>();
  require(version == kVersion, "its version is {}, expected {}", version, kVersion);
  DatasetInfo info;
  info.tokenizer = json.at("tokenizer").get<std::string>();
  info.vocab_size = json.at("vocab_size").get<std::int32_t>();
  info.separator = json.at("separator").get<std::int32_t>();
  info.train = shards_from_json(json.at("train"));
  info.validation = shards_from_json(json.at("validation"));
  require(1 <= info.vocab_size && info.vocab_size <= kShardMaxVocab, "vocab_size is {}, expected 1 to {}",
          info.vocab_size, kShardMaxVocab);
  require(0 <= info.separator && info.separator < info.vocab_size, "separator is {}, expected an id in [0, {})",
          info.separator, info.vocab_size);
  return info;
}

}  // namespace

std::filesystem::path dataset_info_path(const std::filesystem::path& folder) { return folder / "dataset.json"; }

DatasetInfo read_dataset_info(const std::filesystem::path& folder) {
  const std::filesystem::path path = dataset_info_path(folder);
  std::error_code unused;
  require(std::filesystem::is_directory(folder, unused), "data folder {} does not exist", folder.string());
  require(std::filesystem::exists(path, unused),
          "{} does not exist: {} is not a folder written by `mudelta prepare`, or that was interrupted", path.string(),
          folder.string());
  try {
    return from_json(parse_json<Json>(FileReader(path).text()));
  } catch (const std::exception& error) {
    fail("{} is damaged or was not written by `mudelta prepare`: {}", path.string(), error.what());
  }
}

std::vector<DatasetInfo::ShardInfo> all_shards(const DatasetInfo& info) {
  std::vector<DatasetInfo::ShardInfo> shards = info.train;
  shards.insert(shards.end(), info.validation.begin(), info.validation.end());
  return shards;
}

std::string to_json(const DatasetInfo& info) {
  const Json json = {{"version", kVersion},
                     {"tokenizer", info.tokenizer},
                     {"vocab_size", info.vocab_size},
                     {"separator", info.separator},
                     {"train", shards_to_json(info.train)},
                     {"validation", shards_to_json(info.validation)}};
  return json.dump(2) + "\n";
}

}  // namespace mudelta
