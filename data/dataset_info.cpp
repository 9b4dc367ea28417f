#include "data/dataset_info.h"

#include <algorithm>

#include "core/error.h"
#include "core/files/file_reader.h"
#include "core/files/json.h"

namespace mudelta {
namespace {

// Version 1 is that of the byte tokenizer, 3 that of files of other programs.
constexpr int kByteVersion = 1, kVersion = 2, kForeignVersion = 3;
constexpr std::int32_t kMaxVocab = 1 << 24;

using Json = nlohmann::ordered_json;

Json shards_to_json(const std::vector<DatasetInfo::ShardInfo>& shards) {
  Json array = Json::array();
  for (const auto& [file, num_tokens, xxh64, format, first_token] : shards) {
    Json shard = {{"file", file}, {"num_tokens", num_tokens}, {"xxh64", xxh64}};
    if (!format.empty()) {
      shard["format"] = format;
      shard["first_token"] = first_token;
    }
    array.push_back(shard);
  }
  return array;
}

// In a folder written by `prepare` a name with a path would lead out of it.
void check(const DatasetInfo::ShardInfo& shard) {
  const std::filesystem::path name = shard.file;
  if (shard.format.empty()) {
    require(name.has_filename() && name == name.filename() && name != "." && name != "..",
            "a shard's file is \"{}\", expected the name of a file in this folder", shard.file);
  } else {
    require(name.is_absolute(), "a shard's file is \"{}\", expected an absolute path", shard.file);
    shard_layout_named(shard.format);
    require(shard.first_token >= 0, "the shard {} begins at token {}, expected 0 or more", shard.file,
            shard.first_token);
  }
  require(shard.num_tokens > 0, "the shard {} has {} tokens, expected at least one", shard.file, shard.num_tokens);
  const bool is_checksum =
      shard.xxh64.size() == 16 && shard.xxh64.find_first_not_of("0123456789abcdef") == std::string::npos;
  require(is_checksum, "the shard {} has the xxh64 \"{}\", expected 16 hexadecimal digits", shard.file, shard.xxh64);
}

std::vector<DatasetInfo::ShardInfo> shards_from_json(const Json& array) {
  std::vector<DatasetInfo::ShardInfo> shards;
  for (const Json& shard : array) {
    shards.push_back({shard.at("file").get<std::string>(), shard.at("num_tokens").get<std::int64_t>(),
                      shard.at("xxh64").get<std::string>(), shard.value("format", ""),
                      shard.value("first_token", std::int64_t{0})});
    check(shards.back());
  }
  return shards;
}

Json tokenizer_to_json(const TokenizerId& id) {
  if (id == TokenizerId()) return id.kind;
  return {{"kind", id.kind}, {"files", {id.file_name()}}, {"xxh64", id.xxh64}, {"separator", id.separator}};
}

TokenizerId tokenizer_from_json(const Json& json) {
  if (json.is_string()) return parse_tokenizer_id(json.get<std::string>());
  const TokenizerId id = {json.at("kind").get<std::string>(), json.at("xxh64").get<std::string>(),
                          json.at("separator").get<std::string>()};
  const auto files = json.at("files").get<std::vector<std::string>>();
  require(files == std::vector{id.file_name()}, "the tokenizer's files are {}, expected {}", fmt::join(files, ", "),
          id.file_name());
  return id;
}

Json bytes_to_json(const DatasetInfo::Bytes& bytes) { return {{"text", bytes.text}, {"tokens", bytes.tokens}}; }

DatasetInfo::Bytes bytes_from_json(const Json& json) {
  const DatasetInfo::Bytes bytes = {json.at("text").get<std::int64_t>(), json.at("tokens").get<std::int64_t>()};
  require(bytes.text >= 0 && bytes.tokens >= 0, "its numbers of bytes are {} and {}, expected none below 0", bytes.text,
          bytes.tokens);
  return bytes;
}

DatasetInfo from_json(const Json& json) {
  const int version = json.at("version").get<int>();
  require(kByteVersion <= version && version <= kForeignVersion, "its version is {}, expected {} to {}", version,
          kByteVersion, kForeignVersion);
  DatasetInfo info;
  info.tokenizer = tokenizer_from_json(json.at("tokenizer"));
  info.vocab_size = json.at("vocab_size").get<std::int32_t>();
  info.separator = json.at("separator").get<std::int32_t>();
  info.train = shards_from_json(json.at("train"));
  info.validation = shards_from_json(json.at("validation"));
  if (version >= kVersion) {
    info.train_bytes = bytes_from_json(json.at("train_bytes"));
    info.validation_bytes = bytes_from_json(json.at("validation_bytes"));
  }
  require(1 <= info.vocab_size && info.vocab_size <= kMaxVocab, "vocab_size is {}, expected 1 to {}", info.vocab_size,
          kMaxVocab);
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

const ShardLayout& layout_of(const DatasetInfo& info, const DatasetInfo::ShardInfo& shard) {
  return shard.format.empty() ? shard_layout(info.vocab_size) : shard_layout_named(shard.format);
}

std::int64_t num_bytes_of(const DatasetInfo& info, const DatasetInfo::ShardInfo& shard) {
  const ShardLayout& layout = layout_of(info, shard);
  return shard.format.empty() ? layout.num_bytes(shard.num_tokens) : shard.num_tokens * layout.token_bytes;
}

std::vector<DatasetInfo::ShardInfo> all_shards(const DatasetInfo& info) {
  std::vector<DatasetInfo::ShardInfo> shards = info.train;
  shards.insert(shards.end(), info.validation.begin(), info.validation.end());
  return shards;
}

std::string to_json(const DatasetInfo& info) {
  const bool is_foreign =
      std::ranges::any_of(all_shards(info), [](const auto& shard) { return !shard.format.empty(); });
  const int version = is_foreign ? kForeignVersion : info.tokenizer == TokenizerId() ? kByteVersion : kVersion;
  Json json = {{"version", version},
               {"tokenizer", tokenizer_to_json(info.tokenizer)},
               {"vocab_size", info.vocab_size},
               {"separator", info.separator},
               {"train", shards_to_json(info.train)},
               {"validation", shards_to_json(info.validation)}};
  if (version >= kVersion) {
    json["train_bytes"] = bytes_to_json(info.train_bytes);
    json["validation_bytes"] = bytes_to_json(info.validation_bytes);
  }
  return json.dump(2) + "\n";
}

}  // namespace mudelta
