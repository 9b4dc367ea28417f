#include "launch/train/unit_elements.h"

#include <array>
#include <vector>

#include "model/parameter_parts.h"
#include "model/parameters.h"
#include "optim/optimizer_kind.h"

namespace mudelta {

double num_state_elements(const Elements& elements, const OptimizerConfig& optimizer) {
  const auto states = [&](Role role) {
    return static_cast<double>(state_names(update_kind(kind_of(optimizer), role)).size());
  };
  return elements.hidden * states(Role::kHidden) + (elements.count() - elements.hidden) * states(Role::kNorm);
}

UnitElements unit_elements(const ModelConfig& model, DType compute_dtype, const TensorPlace& place) {
  ModelConfig one_block = model;
  one_block.set_layers(1);
  const std::vector<ParameterSpec> specs = parameter_specs(one_block);
  const std::vector<ParameterPart> parts = parameter_parts(specs, place);
  UnitElements units{.embedding = {}, .block = {}, .head = {}, .blocks = static_cast<double>(model.layers())};
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Shape& whole = specs[i].shape;
    const std::int64_t numel = parts.empty() ? whole.numel() : SliceMap(whole, parts[i].slice).numel();
    const bool is_wide = specs[i].keep_float32 || compute_dtype == DType::kFloat32;
    Elements& elements =
        *std::array{&units.embedding, &units.block, &units.head}.at(static_cast<std::size_t>(specs[i].unit));
    (is_wide ? elements.wide : elements.compute) += static_cast<double>(numel);
    if (specs[i].role == Role::kHidden) elements.hidden += static_cast<double>(numel);
  }
  return units;
}

}  // namespace mudelta
