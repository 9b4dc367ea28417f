#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "launch/checkpoint/safetensors.h"
#include "launch/interop/foreign_format.h"
#include "launch/train/weight_source.h"

namespace mudelta {

// Keys of the metadata of safetensors files that say what config.json cannot. Programs that write the weights anew
// leave them out, so that they are of these weights.
inline constexpr std::string_view kONormEpsKey = "mudelta.o_norm_eps";
inline constexpr std::string_view kTokenizerKey = "mudelta.tokenizer";

// The weights in a folder of another program: config.json, and model.safetensors or the files that
// model.safetensors.index.json names.
class ForeignWeights : public WeightSource {
 public:
  // `loaded_as`: the dtype that all values are rounded to first, as the other program does. Throws Error, naming the
  // file, on a model that is none of this program's, on files that are missing, damaged or hold other tensors than the
  // model has. Elements are read when they are asked for.
  explicit ForeignWeights(std::filesystem::path folder, DType loaded_as = DType::kFloat32);

  const std::filesystem::path& folder() const override { return folder_; }
  // SP, with the o_norm_eps of the metadata; without it, that which the format implies. Defaults elsewhere.
  const RunConfig& config() const override { return config_; }
  ForwardMultipliers forward_multipliers() const override { return {}; }
  TrainingState state() const override;
  void read(const std::string& parameter, const ParameterSlice& slice, std::int64_t begin,
            std::span<float> out) const override;

  const ForeignFormat& format() const { return *format_; }
  // Whether the metadata say an o_norm_eps.
  bool says_o_norm_eps() const { return says_o_norm_eps_; }

 private:
  // Where a parameter lies.
  struct Place {
    const SafetensorsFile* file;
    std::string key;
    std::int64_t begin;  // its first element in the flattened tensor
    Shape shape;
    bool zero_centred;
  };

  void open_files();
  void place_parameters();
  void read_metadata();
  const SafetensorsFile& file_of(const std::string& tensor) const;

  std::filesystem::path folder_;
  DType loaded_as_;
  const ForeignFormat* format_;
  RunConfig config_;
  bool says_o_norm_eps_ = false;
  std::map<std::string, std::unique_ptr<const SafetensorsFile>> files_;  // by name
  std::map<std::string, const SafetensorsFile*> file_of_tensor_;
  std::map<std::string, Place> places_;  // by parameter
};

// The weights in `folder`: such a folder (it holds a config.json), a checkpoint, or a run, then those of its newest
// checkpoint. Throws Error as ForeignWeights and CheckpointWeights do.
std::unique_ptr<const WeightSource> open_weights(const std::filesystem::path& folder);

}  // namespace mudelta
