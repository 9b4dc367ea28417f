#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/parameter.h"
#include "launch/interop/config_fields.h"
#include "model/config.pb.h"

namespace mudelta {

// How the folders of another program's models are made, where they hold the model of docs/architecture.md.
// docs/interop.md has the formats.
struct ForeignFormat {
  std::string_view name;        // as --format has it
  std::string_view model_type;  // as config.json has it
  // The fields of config.json that say which model it is. Throws Error, naming the field of the model and its value, on
  // what the format cannot hold.
  nlohmann::ordered_json (*describe)(const ModelConfig& resolved);
  // The model that config.json says, but for o_norm_eps. Throws Error on what this program's model cannot be.
  ModelConfig (*parse)(const ConfigFields& fields);
  // Of a parameter of parameter_specs(). Parameters that share a tensor are its rows, one after another, in their
  // order.
  std::string (*tensor_of)(std::string_view parameter);
  // Gains of the residual stream's norms are stored less 1.
  bool norms_are_zero_centred;
  // Where its o_norm keeps its eps, as Python names it from a layer on.
  std::string_view o_norm_eps;
};

std::span<const ForeignFormat* const> foreign_formats();
// Both throw Error, naming those that there are.
const ForeignFormat& format_named(std::string_view name);
const ForeignFormat& format_of(const ConfigFields& fields);

extern const ForeignFormat kFlaFormat;
extern const ForeignFormat kQwen35Format;

// A tensor of such a folder: rows of the parameters that it holds, one after another.
struct ForeignTensor {
  std::string name;
  Shape shape;
  std::vector<ParameterSpec> parts;
};
std::vector<ForeignTensor> foreign_tensors(const ForeignFormat& format, std::span<const ParameterSpec> specs);

// Whether the format stores it less 1.
bool is_zero_centred(const ForeignFormat& format, const ParameterSpec& spec);

// The o_norm_eps of a model that computes o as these programs do, head_dim times smaller than ours, and adds norm_eps
// to its mean square (docs/architecture.md).
double consumer_o_norm_eps(const ModelConfig& resolved);

}  // namespace mudelta
