#include "launch/interop/model_writer.h"

#include <optional>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/checksum.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "launch/checkpoint/manifest.h"
#include "launch/checkpoint/safetensors.h"
#include "launch/interop/foreign_weights.h"
#include "launch/train/scaling.h"
#include "model/config.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;
using Tensors = std::vector<std::pair<std::string, Tensor>>;

constexpr std::string_view kTransformersVersion = "5.23.0";  // whose config.json this is

// Runs of consecutive items, each of at most `most` bytes or one item.
std::vector<std::vector<std::size_t>> group_by_bytes(std::span<const std::int64_t> item_bytes, std::int64_t most) {
  std::vector<std::vector<std::size_t>> groups;
  std::int64_t sum = 0;
  for (std::size_t item = 0; item < item_bytes.size(); ++item) {
    if (groups.empty() || item_bytes[item] > most - sum) {
      groups.emplace_back();
      sum = 0;
    }
    groups.back().push_back(item);
    sum += item_bytes[item];
  }
  return groups;
}

Tensor whole(const WeightSource& weights, const ParameterSpec& spec) {
  const Tensor tensor = Tensor::empty(spec.shape);
  read_finite(weights, {.spec = spec, .part = {}, .value = {}, .gradient = {}}, 0, tensor.span<float>());
  return tensor;
}

CheckpointSegment describe_whole(const ParameterSpec& spec, const Tensor& tensor) {
  CheckpointSegment segment;
  segment.set_parameter(spec.name);
  segment.set_state("weight");
  segment.set_begin(0);
  segment.set_numel(tensor.numel());
  segment.set_key(spec.name);
  segment.set_xxh64(xxh64_of(std::as_bytes(tensor.span<float>())));
  return segment;
}

DType dtype_in_file(const ForeignTensor& tensor, DType dtype) {
  return tensor.parts.front().keep_float32 ? DType::kFloat32 : dtype;
}

Tensor assemble(const WeightSource& weights, const ForeignFormat& format, const ForeignTensor& tensor, DType dtype) {
  const Tensor assembled = Tensor::empty(tensor.shape);
  std::int64_t begin = 0;
  for (const ParameterSpec& part : tensor.parts) {
    const Tensor rows = whole(weights, part);
    if (is_zero_centred(format, part)) {
      for (float& gain : rows.span<float>()) gain -= 1;
    }
    assembled.flat_view(begin, part.shape).copy_from(rows);
    begin += part.shape.numel();
  }
  return assembled.to(dtype_in_file(tensor, dtype));
}

// Nothing if it is not known.
std::optional<StoredTokenizer> tokenizer_of(const WeightSource& weights) {
  const DataConfig& data = weights.config().data();
  if (!data.has_tokenizer()) return std::nullopt;
  return load_tokenizer(weights.folder(), parse_tokenizer_id(data.tokenizer()));
}

// Ids of tokens that a consumer's texts begin and end with: a separator stands before each document here.
void add_special_tokens(const std::optional<StoredTokenizer>& stored, nlohmann::ordered_json& fields) {
  nlohmann::ordered_json separator;
  if (stored) separator = stored->tokenizer->separator();
  for (const char* name : {"bos_token_id", "eos_token_id", "pad_token_id"}) fields[name] = separator;
}

void write_json(const nlohmann::ordered_json& json, const fs::path& path) {
  write_file_atomically(path, json.dump(2) + "\n");
}

// So that transformers' AutoTokenizer opens a tokenizer.json. Texts begin with the separator here: it adds none itself.
void write_tokenizer_config(const StoredTokenizer& stored, const fs::path& folder) {
  if (stored.id.file_name() != "tokenizer.json") return;
  const std::string& separator = stored.id.separator;
  write_json({{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"bos_token", separator},
              {"eos_token", separator},
              {"pad_token", separator},
              {"clean_up_tokenization_spaces", false}},
             folder / "tokenizer_config.json");
}

std::map<std::string, std::string> metadata_of(const RunConfig& config) {
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  metadata[std::string(kONormEpsKey)] = fmt::format("{}", o_norm_eps(config.model()));
  if (config.data().has_tokenizer()) metadata[std::string(kTokenizerKey)] = config.data().tokenizer();
  return metadata;
}

}  // namespace

void write_checkpoint_of(const WeightSource& weights, std::int64_t file_bytes, const fs::path& folder) {
  const std::vector<ParameterSpec> specs = parameter_specs(weights.config().model());
  CheckpointManifest manifest;
  manifest.set_format_version(kCheckpointFormatVersion);
  *manifest.mutable_state() = weights.state();
  manifest.set_optimizer_updates(0);
  describe_parameters(weights.config(), specs, make_parametrization(weights.config()).scaling(),
                      weights.forward_multipliers(), manifest);

  std::vector<std::int64_t> bytes;
  for (const ParameterSpec& spec : specs) bytes.push_back(spec.shape.numel() * size_of(DType::kFloat32));
  const auto groups = group_by_bytes(bytes, file_bytes);
  manifest.set_ranks(static_cast<int>(groups.size()));
  for (std::size_t i = 0; i < groups.size(); ++i) {
    CheckpointFile& file = *manifest.add_files();
    file.set_name(fmt::format("shard-{:05}-of-{:05}.safetensors", i, groups.size()));
    Tensors tensors;
    for (const std::size_t parameter : groups[i]) {
      tensors.emplace_back(specs[parameter].name, whole(weights, specs[parameter]));
      *file.add_segments() = describe_whole(specs[parameter], tensors.back().second);
    }
    file.set_num_bytes(write_safetensors(folder / file.name(), tensors, {{"format", "pt"}}));
  }
  if (const auto tokenizer = tokenizer_of(weights)) tokenizer->save(folder);
  check_manifest(manifest, folder);
  write_manifest(folder, manifest);
}

void write_foreign_model(const WeightSource& weights, const ForeignFormat& format, DType dtype, std::int64_t file_bytes,
                         const fs::path& folder) {
  const RunConfig& config = weights.config();
  nlohmann::ordered_json fields = format.describe(config.model());
  const std::optional<StoredTokenizer> tokenizer = tokenizer_of(weights);
  add_special_tokens(tokenizer, fields);
  fields["dtype"] = name_of(dtype);
  fields["transformers_version"] = kTransformersVersion;
  nlohmann::ordered_json generation = {{"use_cache", fields["use_cache"]}};
  add_special_tokens(tokenizer, generation);

  const FoldedWeights folded(weights, ForwardMultipliers{});
  const std::vector<ForeignTensor> layout = foreign_tensors(format, parameter_specs(config.model()));
  std::vector<std::int64_t> bytes;
  std::int64_t all_bytes = 0;
  for (const ForeignTensor& tensor : layout) {
    bytes.push_back(tensor.shape.numel() * size_of(dtype_in_file(tensor, dtype)));
    all_bytes += bytes.back();
  }
  const auto groups = group_by_bytes(bytes, file_bytes);
  nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const std::string name = groups.size() == 1 ? "model.safetensors"
                                                : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, groups.size());
    Tensors tensors;
    for (const std::size_t tensor : groups[i]) {
      tensors.emplace_back(layout[tensor].name, assemble(folded, format, layout[tensor], dtype));
      weight_map[layout[tensor].name] = name;
    }
    write_safetensors(folder / name, tensors, metadata_of(config));
  }
  if (groups.size() > 1) {
    write_json({{"metadata", {{"total_size", all_bytes}}}, {"weight_map", weight_map}},
               folder / "model.safetensors.index.json");
  }
  if (tokenizer) {
    tokenizer->save(folder);
    write_tokenizer_config(*tokenizer, folder);
  }
  write_json(generation, folder / "generation_config.json");
  write_json(fields, folder / "config.json");
}

}  // namespace mudelta
