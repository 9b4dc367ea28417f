#include "model/config.h"

#include <cmath>
#include <cstdint>
#include <string_view>

#include "core/error.h"
#include "core/shape.h"

namespace mudelta {
namespace {

constexpr double kDefaultONormEps = 4e-3;

// factor x value as a whole number.
std::int64_t whole_product(std::string_view field, double factor, std::string_view of, std::int64_t value) {
  const double product = factor * static_cast<double>(value);
  const double rounded = std::round(product);
  require(std::isfinite(product) && rounded >= 1 && std::abs(product - rounded) < 1e-6,
          "model.{} is {}: times model.{} ({}) it must be a whole number of at least 1, got {}", field, factor, of,
          value, product);
  require(rounded <= static_cast<double>(kMaxModelSize), "model.{} is {}: times model.{} ({}) it must be at most {}",
          field, factor, of, value, kMaxModelSize);
  return static_cast<std::int64_t>(rounded);
}

// Of all heads of a kind.
void require_channels(std::string_view heads_field, std::int64_t heads, std::int64_t head_size) {
  const std::int64_t channels = product_of({heads, head_size});
  require(channels <= kMaxModelSize, "model.{} is {}: with {} channels a head that makes {}, expected at most {}",
          heads_field, heads, head_size, channels, kMaxModelSize);
}

}  // namespace

void require_model_size(std::string_view field, std::int64_t value) {
  require(value >= 1, "model.{} is {}, expected at least 1", field, value);
  require(value <= kMaxModelSize, "model.{} is {}, expected at most {}", field, value, kMaxModelSize);
}

ModelConfig resolve(ModelConfig config) {
  require_model_size("width", config.width());
  require_model_size("layers", config.layers());
  require_model_size("heads", config.heads());
  require_model_size("conv_size", config.conv_size());
  require(config.has_vocab_size(), "model.vocab_size is not given and no data set says it");
  require_model_size("vocab_size", config.vocab_size());
  require(config.norm_eps() > 0, "model.norm_eps is {}, expected a number above 0", config.norm_eps());
  require(config.init_std() > 0, "model.init_std is {}, expected a number above 0", config.init_std());
  require(config.conv_init_std() > 0, "model.conv_init_std is {}, expected a number above 0", config.conv_init_std());

  if (!config.has_value_heads()) config.set_value_heads(config.heads());
  require_model_size("value_heads", config.value_heads());
  require(config.value_heads() % config.heads() == 0,
          "model.value_heads is {}, expected a multiple of model.heads ({})", config.value_heads(), config.heads());

  if (!config.has_head_dim()) {
    require(3 * config.width() % (4 * config.heads()) == 0,
            "model.width is {}: without model.head_dim, 3/4 width / heads ({} heads) must be a whole number: choose a "
            "multiple of {}, or give model.head_dim",
            config.width(), config.heads(), config.heads() % 3 == 0 ? 4 * config.heads() / 3 : 4 * config.heads());
    config.set_head_dim(3 * config.width() / (4 * config.heads()));
  }
  require_model_size("head_dim", config.head_dim());
  const std::int64_t value_size = whole_product("expand_v", config.expand_v(), "head_dim", config.head_dim());
  require_channels("heads", config.heads(), config.head_dim());
  require_channels("value_heads", config.value_heads(), value_size);

  if (!config.has_mlp_size()) {
    config.set_mlp_size(whole_product("mlp_ratio", config.mlp_ratio(), "width", config.width()));
  }
  require_model_size("mlp_size", config.mlp_size());

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
