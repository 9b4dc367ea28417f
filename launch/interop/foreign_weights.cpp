#include "launch/interop/foreign_weights.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "launch/config/run_config.h"
#include "model/config.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfigFile = "config.json";
constexpr std::string_view kOnlyFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr std::string_view kReadout = "lm_head.weight";

// File names of the index, by tensor.
std::map<std::string, std::string> read_index(const fs::path& path) {
  const ConfigFields index(path);
  const nlohmann::json& weight_map = index.value("weight_map");
  require(weight_map.is_object() && !weight_map.empty(), "{}: expected a weight_map from tensors to files",
          path.string());
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : weight_map.items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    require(fs::path(name).filename() == name && name.ends_with(".safetensors"),
            "{}: {} is in {}, expected the name of a .safetensors file in the same folder", path.string(), tensor,
            file.dump());
    files.emplace(tensor, name);
  }
  return files;
}

ModelConfig parse_model(const ForeignFormat& format, const ConfigFields& fields) {
  ModelConfig model = format.parse(fields);
  try {
    model = resolve(model);
    model.set_o_norm_eps(consumer_o_norm_eps(model));
    return resolve(model);
  } catch (const Error& error) {
    fail("{}: {}", fields.file(), error.what());
  }
}

}  // namespace

ForeignWeights::ForeignWeights(fs::path folder, DType loaded_as) : folder_(std::move(folder)), loaded_as_(loaded_as) {
  const ConfigFields fields(folder_ / kConfigFile);
  format_ = &format_of(fields);
  *config_.mutable_model() = parse_model(*format_, fields);
  config_.mutable_parametrization()->set_kind(ParametrizationConfig::SP);
  open_files();
  require(std::cmp_less_equal(config_.model().layers(), file_of_tensor_.size()),
          "{}: num_hidden_layers is {}, but there are {} tensors in all", fields.file(), config_.model().layers(),
          file_of_tensor_.size());
  place_parameters();
  read_metadata();
  config_ = with_defaults(config_);
}

void ForeignWeights::open_files() {
  std::map<std::string, std::string> index;
  if (fs::exists(folder_ / kIndexFile)) {
    index = read_index(folder_ / kIndexFile);
  } else {
    require(fs::exists(folder_ / kOnlyFile), "{} holds neither {} nor {}", folder_.string(), kOnlyFile, kIndexFile);
  }
  const auto open = [&](const std::string& name) {
    std::unique_ptr<const SafetensorsFile>& file = files_[name];
    if (!file) file = std::make_unique<const SafetensorsFile>(folder_ / name);
    return file.get();
  };
  for (const auto& [tensor, name] : index) file_of_tensor_[tensor] = open(name);
  if (!index.empty()) return;
  const SafetensorsFile* file = open(std::string(kOnlyFile));
  for (const auto& [tensor, entry] : file->entries()) file_of_tensor_[tensor] = file;
}

void ForeignWeights::place_parameters() {
  std::map<std::string, const SafetensorsFile*> left = file_of_tensor_;
  for (const ForeignTensor& tensor : foreign_tensors(*format_, parameter_specs(config_.model()))) {
    const SafetensorsFile& file = file_of(tensor.name);
    const SafetensorsFile::Entry& entry = file.find(tensor.name);
    require(entry.dtype == DType::kFloat32 || entry.dtype == DType::kBFloat16,
            "{}: {} is {}, expected float32 or bfloat16", file.path().string(), tensor.name, name_of(entry.dtype));
    require(entry.shape == tensor.shape, "{}: {} has shape {}, expected {} by {}", file.path().string(), tensor.name,
            entry.shape.to_string(), tensor.shape.to_string(), kConfigFile);
    std::int64_t begin = 0;
    for (const ParameterSpec& part : tensor.parts) {
      places_.emplace(part.name, Place{&file, tensor.name, begin, part.shape, is_zero_centred(*format_, part)});
      begin += part.shape.numel();
    }
    left.erase(tensor.name);
  }
  if (config_.model().tie_embeddings()) left.erase(std::string(kReadout));
  for (const auto& [tensor, file] : left) {
    fail("{}: there is no place in the model for {}", file->path().string(), tensor);
  }
}

const SafetensorsFile& ForeignWeights::file_of(const std::string& tensor) const {
  const auto found = file_of_tensor_.find(tensor);
  require(found != file_of_tensor_.end(), "{} holds no tensor named {}", folder_.string(), tensor);
  return *found->second;
}

void ForeignWeights::read_metadata() {
  const SafetensorsFile& file = *files_.begin()->second;
  const auto& metadata = file.metadata();
  if (const auto found = metadata.find(std::string(kTokenizerKey)); found != metadata.end()) {
    config_.mutable_data()->set_tokenizer(found->second);
  }
  const auto found = metadata.find(std::string(kONormEpsKey));
  if (found == metadata.end()) return;
  const std::string& text = found->second;
  double eps = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), eps);
  require(error == std::errc() && end == text.data() + text.size() && std::isfinite(eps) && eps > 0,
          "{}: {} is \"{}\", expected a number above 0", file.path().string(), kONormEpsKey, text);
  config_.mutable_model()->set_o_norm_eps(eps);
  says_o_norm_eps_ = true;
}

TrainingState ForeignWeights::state() const {
  TrainingState state;
  state.set_step(0);
  state.set_tokens(0);
  state.set_skipped_in_a_row(0);
  return state;
}

void ForeignWeights::read(const std::string& parameter, const ParameterSlice& slice, std::int64_t begin,
                          std::span<float> out) const {
  const auto found = places_.find(parameter);
  require(found != places_.end(), "{}: there is no parameter {}", folder_.string(), parameter);
  if (out.empty()) return;
  const Place& place = found->second;
  const SliceMap map(place.shape, slice);
  const std::int64_t end = begin + std::ssize(out), first = map.whole_index(begin);
  const Tensor stored = place.file->read(place.key, place.begin + first, map.whole_index(end - 1) + 1 - first)
                            .to(loaded_as_)
                            .to(DType::kFloat32);
  map.for_each_run(begin, end, [&](const SliceRun& run) {
    std::ranges::copy(stored.span<float>().subspan(run.whole - first, run.numel), out.begin() + (run.local - begin));
  });
  if (!place.zero_centred) return;
  for (float& gain : out) gain += 1;
}

std::unique_ptr<const WeightSource> open_weights(const fs::path& folder) {
  if (fs::exists(folder / kConfigFile)) return std::make_unique<ForeignWeights>(folder);
  return std::make_unique<CheckpointWeights>(folder);
}

}  // namespace mudelta
