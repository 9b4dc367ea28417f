#include "launch/checkpoint/consolidation.h"

#include <google/protobuf/util/json_util.h>

#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/json.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "launch/checkpoint/manifest.h"
#include "launch/checkpoint/safetensors.h"
#include "launch/job/memory_limit.h"

namespace mudelta {
namespace {

using nlohmann::ordered_json;

// Whole numbers are numbers here: protobuf writes 64 bits as strings, for readers that have doubles alone.
ordered_json with_numbers(ordered_json values, const google::protobuf::Message& message) {
  for (auto& [name, value] : values.items()) {
    const auto* field = message.GetDescriptor()->FindFieldByName(name);
    const auto type = field->cpp_type();
    if (type == google::protobuf::FieldDescriptor::CPPTYPE_INT64) value = std::stoll(value.get<std::string>());
  }
  return values;
}

std::string config_text(const CheckpointManifest& manifest) {
  std::string model;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  const auto status = google::protobuf::util::MessageToJsonString(manifest.config().model(), &model, options);
  require(status.ok(), "cannot write the model's configuration as JSON: {}", status.ToString());
  const ordered_json config = {{"model_type", "mudelta"},
                               {"model", with_numbers(ordered_json::parse(model), manifest.config().model())},
                               {"tokenizer", manifest.config().data().tokenizer()},
                               {"logit_multiplier", manifest.logit_multiplier()},
                               {"residual_multiplier", manifest.residual_multiplier()},
                               {"step", manifest.state().step()}};
  return config.dump(2) + "\n";
}

}  // namespace

std::int64_t consolidate(const CheckpointReader& checkpoint, const std::filesystem::path& folder) {
  const CheckpointManifest& manifest = checkpoint.manifest();
  double num_bytes = 0;
  for (const CheckpointParameter& parameter : manifest.parameters()) {
    num_bytes += static_cast<double>(shape_of(parameter).numel()) * size_of(DType::kFloat32);
  }
  require(num_bytes <= static_cast<double>(host_memory()), "the weights of {} take {:.0f} bytes, and this host has {}",
          checkpoint.folder().string(), num_bytes, host_memory());
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const CheckpointParameter& parameter : manifest.parameters()) {
    const Tensor weights = Tensor::empty(shape_of(parameter));
    checkpoint.read(parameter.name(), "weight", {}, 0, weights.span<float>());
    tensors.emplace_back(parameter.name(), weights);
  }
  const std::int64_t written = write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  write_file_atomically(folder / "config.json", config_text(manifest));
  if (const DataConfig& data = manifest.config().data(); data.has_tokenizer()) {
    load_tokenizer(checkpoint.folder(), parse_tokenizer_id(data.tokenizer())).save(folder);
  }
  return written;
}

}  // namespace mudelta
