#include "launch/train/scaling.h"

#include "core/error.h"
#include "core/shape.h"
#include "model/config.h"
#include "model/parameters.h"
#include "optim/optimizer_kind.h"
#include "optim/schedule.h"

namespace mudelta {
namespace {

// value x numerator / denominator, which must be a whole number.
std::int64_t in_proportion(const char* field, std::int64_t value, std::int64_t numerator, std::int64_t denominator) {
  const std::int64_t product = product_of({value, numerator});
  require(product % denominator == 0,
          "parametrization.{} is not given and cannot be derived: {} x {} / {} is no whole number", field, value,
          numerator, denominator);
  return product / denominator;
}

double ratio(std::int64_t target, std::int64_t base) { return static_cast<double>(target) / static_cast<double>(base); }

}  // namespace

ModelConfig base_model(const RunConfig& config) {
  const ModelConfig& model = config.model();
  const ParametrizationConfig& p = config.parametrization();
  if (!p.has_base_width()) {
    require(!p.has_base_heads() && !p.has_base_value_heads() && !p.has_base_head_dim() && !p.has_base_mlp_size(),
            "parametrization.base_width is not given but another size of the base model is: give it too");
    return model;
  }
  ModelConfig base = model;
  base.set_width(p.base_width());
  base.set_heads(p.has_base_heads() ? p.base_heads() : model.heads());
  base.set_value_heads(p.has_base_value_heads()
                           ? p.base_value_heads()
                           : in_proportion("base_value_heads", model.value_heads(), base.heads(), model.heads()));
  base.set_head_dim(p.has_base_head_dim()
                        ? p.base_head_dim()
                        : in_proportion("base_head_dim", model.head_dim(), product_of({base.width(), model.heads()}),
                                        product_of({model.width(), base.heads()})));
  base.set_mlp_size(p.has_base_mlp_size()
                        ? p.base_mlp_size()
                        : in_proportion("base_mlp_size", model.mlp_size(), base.width(), model.width()));
  return resolve(base);
}

GrowthRatios growth_ratios(const ModelConfig& base, const RunConfig& config) {
  const ModelConfig& model = config.model();
  const ParametrizationConfig& p = config.parametrization();
  return {.width = ratio(model.width(), base.width()),
          .head_dim = ratio(model.head_dim(), base.head_dim()),
          .depth = p.has_base_layers() ? ratio(model.layers(), p.base_layers()) : 1};
}

Parametrization make_parametrization(const RunConfig& config) {
  const ModelConfig base = base_model(config);
  return Parametrization(config.parametrization(), config.optimizer(), parameter_specs(base),
                         parameter_specs(config.model()), growth_ratios(base, config));
}

double learning_rate_of(const RunConfig& config, std::int64_t step) {
  return learning_rate(config.schedule(), peak_lr(config.optimizer()), step, config.train().steps());
}

}  // namespace mudelta
