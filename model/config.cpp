#include "model/config.h"

#include <cmath>
#include <cstdint>
#include <string_view>

#include "core/error.h"

namespace mudelta {
namespace {

constexpr double kDefaultONormEps = 4e-3;

void require_positive(std::string_view field, std::int64_t value) {
  require(value >= 1, "model.{} is {}, expected at least 1", field, value);
}

// factor x value as a whole number.
std::int64_t whole_product(std::string_view field, double factor, std::string_view of, std::int64_t value) {
  const double product = factor * static_cast<double>(value);
  const double rounded = std::round(product);
  require(std::isfinite(product) && rounded >= 1 && std::abs(product - rounded) < 1e-6,
          "model.{} is {}: times model.{} ({}) it must be a whole number of at least 1, got {}", field, factor, of,
          value, product);
  return static_cast<std::int64_t>(rounded);
}

}  // namespace

ModelConfig resolve(ModelConfig config) {
  require_positive("width", config.width());
  require_positive("layers", config.layers());
  require_positive("heads", config.heads());
  require_positive("conv_size", config.conv_size());
  require(config.has_vocab_size(), "model.vocab_size is not given and no data set says it");
  require_positive("vocab_size", config.vocab_size());
  require(config.norm_eps() > 0, "model.norm_eps is {}, expected a number above 0", config.norm_eps());
  require(config.init_std() > 0, "model.init_std is {}, expected a number above 0", config.init_std());
  require(config.conv_init_std() > 0, "model.conv_init_std is {}, expected a number above 0", config.conv_init_std());

  if (!config.has_value_heads()) config.set_value_heads(config.heads());
  require_positive("value_heads", config.value_heads());
  require(config.value_heads() % config.heads() == 0,
          "model.value_heads is {}, expected a multiple of model.heads ({})", config.value_heads(), config.heads());

  if (!config.has_head_dim()) {
    require(3 * config.width() % (4 * config.heads()) == 0,
            "model.width is {}: without model.head_dim, 3/4 width / heads ({} heads) must be a whole number: choose a "
            "multiple of {}, or give model.head_dim",
            config.width(), config.heads(), config.heads() % 3 == 0 ? 4 * config.heads() / 3 : 4 * config.heads());
    config.set_head_dim(3 * config.width() / (4 * config.heads()));
  }
  require_positive("head_dim", config.head_dim());
  whole_product("expand_v", config.expand_v(), "head_dim", config.head_dim());

  if (!config.has_mlp_size()) {
    config.set_mlp_size(whole_product("mlp_ratio", config.mlp_ratio(), "width", config.width()));
  }
  require_positive("mlp_size", config.mlp_size());

  if (config.has_o_norm_eps()) {
    config.clear_query_scale();
  } else if (!config.has_query_scale()) {
    config.set_o_norm_eps(kDefaultONormEps);
  }
  require(o_norm_eps(config) > 0, "model.o_norm_eps is {}, expected a number above 0", o_norm_eps(config));
  return config;
}

std::int64_t value_dim(const ModelConfig& resolved) {
  return std::llround(resolved.expand_v() * static_cast<double>(resolved.head_dim()));
}

double o_norm_eps(const ModelConfig& resolved) {
  if (resolved.has_o_norm_eps()) return resolved.o_norm_eps();
  if (resolved.query_scale() == ModelConfig::RMS) return resolved.norm_eps();
  return resolved.norm_eps() * std::pow(resolved.head_dim(), 2);
}

}  // namespace mudelta
