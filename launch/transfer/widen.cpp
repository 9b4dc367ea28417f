#include "launch/transfer/widen.h"

#include "core/error.h"
#include "core/shape.h"
#include "model/config.h"

namespace mudelta {
namespace {

// value x numerator / denominator.
std::int64_t in_proportion(const char* field, std::int64_t width, std::int64_t value, std::int64_t numerator,
                           std::int64_t denominator) {
  const std::int64_t product = product_of({value, numerator});
  require(product % denominator == 0, "width {}: model.{} would be {} x {} / {}, which is no whole number; give it",
          width, field, value, numerator, denominator);
  return product / denominator;
}

// Of queries and keys.
void choose_heads(const ModelConfig& from, const ModelConfig& given, GrowthAxis axis, ModelConfig& model) {
  const std::int64_t width = given.width();
  if (given.has_heads() || (!given.has_head_dim() && axis == GrowthAxis::kHeadDim)) {
    model.set_heads(given.has_heads() ? given.heads() : from.heads());
    require_model_size("heads", model.heads());
    model.set_head_dim(given.has_head_dim() ? given.head_dim()
                                            : in_proportion("head_dim", width, from.head_dim() * from.heads(), width,
                                                            from.width() * model.heads()));
  } else {
    model.set_head_dim(given.has_head_dim() ? given.head_dim() : from.head_dim());
    require_model_size("head_dim", model.head_dim());
    model.set_heads(
        in_proportion("heads", width, from.head_dim() * from.heads(), width, from.width() * model.head_dim()));
  }
}

}  // namespace

RunConfig widened(const RunConfig& base, const ModelConfig& given, GrowthAxis axis) {
  const ModelConfig& from = base.model();
  require_model_size("width", given.width());
  RunConfig config = base;
  ModelConfig& model = *config.mutable_model();
  model.set_width(given.width());
  choose_heads(from, given, axis, model);
  model.set_value_heads(given.has_value_heads() ? given.value_heads()
                                                : in_proportion("value_heads", given.width(), from.value_heads(),
                                                                model.heads(), from.heads()));
  model.set_mlp_size(given.has_mlp_size()
                         ? given.mlp_size()
                         : in_proportion("mlp_size", given.width(), from.mlp_size(), given.width(), from.width()));
  if (given.has_layers()) model.set_layers(given.layers());
  model = resolve(model);

  ParametrizationConfig& parametrization = *config.mutable_parametrization();
  parametrization.set_base_width(from.width());
  parametrization.set_base_heads(from.heads());
  parametrization.set_base_value_heads(from.value_heads());
  parametrization.set_base_head_dim(from.head_dim());
  parametrization.set_base_mlp_size(from.mlp_size());
  if (given.has_layers() && !parametrization.has_base_layers()) parametrization.set_base_layers(from.layers());
  return config;
}

RunConfig widened(const RunConfig& base, std::int64_t width, GrowthAxis axis) {
  ModelConfig given;
  given.set_width(width);
  return widened(base, given, axis);
}

RunConfig deepened(const RunConfig& base, std::int64_t layers) {
  require_model_size("layers", layers);
  RunConfig config = base;
  config.mutable_model()->set_layers(layers);
  config.mutable_parametrization()->set_base_layers(base.model().layers());
  return config;
}

RunConfig grown(const RunConfig& base, std::int64_t size, GrowthAxis axis) {
  return axis == GrowthAxis::kDepth ? deepened(base, size) : widened(base, size, axis);
}

}  // namespace mudelta
