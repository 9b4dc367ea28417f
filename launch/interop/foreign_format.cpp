#include "launch/interop/foreign_format.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/error.h"

namespace mudelta {
namespace {

constexpr std::array<const ForeignFormat*, 2> kFormats = {&kFlaFormat, &kQwen35Format};

std::vector<std::string_view> all_of(std::string_view ForeignFormat::*name) {
  std::vector<std::string_view> names;
  for (const ForeignFormat* format : kFormats) names.push_back(format->*name);
  return names;
}

}  // namespace

std::span<const ForeignFormat* const> foreign_formats() { return kFormats; }

const ForeignFormat& format_named(std::string_view name) {
  const auto found = std::ranges::find(kFormats, name, &ForeignFormat::name);
  require(found != kFormats.end(), "the format {} is not known, expected {}", name,
          fmt::join(all_of(&ForeignFormat::name), " or "));
  return **found;
}

const ForeignFormat& format_of(const ConfigFields& fields) {
  const std::string model_type = fields.text("model_type");
  const auto found = std::ranges::find(kFormats, model_type, &ForeignFormat::model_type);
  require(found != kFormats.end(), "{}: model_type is \"{}\", expected {}", fields.file(), model_type,
          fmt::join(all_of(&ForeignFormat::model_type), " or "));
  return **found;
}

std::vector<ForeignTensor> foreign_tensors(const ForeignFormat& format, std::span<const ParameterSpec> specs) {
  std::vector<ForeignTensor> tensors;
  for (const ParameterSpec& spec : specs) {
    std::string name = format.tensor_of(spec.name);
    auto tensor = std::ranges::find(tensors, name, &ForeignTensor::name);
    if (tensor == tensors.end()) {
      tensors.push_back({std::move(name), spec.shape, {spec}});
      continue;
    }
    std::vector<std::int64_t> sizes(tensor->shape.sizes().begin(), tensor->shape.sizes().end());
    sizes[0] += spec.shape[0];
    tensor->shape = Shape(std::span<const std::int64_t>(sizes));
    tensor->parts.push_back(spec);
  }
  return tensors;
}

bool is_zero_centred(const ForeignFormat& format, const ParameterSpec& spec) {
  return format.norms_are_zero_centred && spec.role == Role::kNorm && spec.meets == ParameterSpec::Meets::kRows;
}

double consumer_o_norm_eps(const ModelConfig& resolved) {
  return resolved.norm_eps() * std::pow(resolved.head_dim(), 2);
}

}  // namespace mudelta
