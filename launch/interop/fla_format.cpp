// flash-linear-attention's GatedDeltaNetForCausalLM, whose names the parameters have here, too.

#include <cmath>
#include <limits>

#include "core/error.h"
#include "launch/interop/foreign_format.h"
#include "model/config.h"

namespace mudelta {
namespace {

constexpr std::int64_t kMaxHeadDim = 256;  // of its kernels

// It takes the whole part of head_dim x expand_v.
double expand_v_of(const ModelConfig& model) {
  const auto head_dim = static_cast<double>(model.head_dim()), value_size = static_cast<double>(value_dim(model));
  double expand_v = value_size / head_dim;
  while (head_dim * expand_v < value_size) expand_v = std::nextafter(expand_v, std::numeric_limits<double>::infinity());
  return expand_v;
}

nlohmann::ordered_json describe(const ModelConfig& model) {
  require(model.head_dim() <= kMaxHeadDim, "model.head_dim is {}: fla's kernels have at most {}", model.head_dim(),
          kMaxHeadDim);
  return {{"architectures", {"GatedDeltaNetForCausalLM"}},
          {"model_type", kFlaFormat.model_type},
          {"vocab_size", model.vocab_size()},
          {"hidden_size", model.width()},
          {"num_hidden_layers", model.layers()},
          {"num_heads", model.heads()},
          {"num_v_heads", model.value_heads()},
          {"head_dim", model.head_dim()},
          {"expand_v", expand_v_of(model)},
          {"conv_size", model.conv_size()},
          {"intermediate_size", model.mlp_size()},
          {"hidden_act", "swish"},
          {"attn_mode", "chunk"},
          {"use_gate", true},
          {"use_short_conv", true},
          {"output_gate_activation", "swish"},
          {"allow_neg_eigval", model.allow_neg_eigval()},
          {"norm_eps", model.norm_eps()},
          {"tie_word_embeddings", model.tie_embeddings()},
          {"attn", nullptr},
          {"use_cache", true}};
}

// Where config.json gives no size.
std::int64_t default_mlp_size(std::int64_t width, const ConfigFields& fields) {
  const double hidden = std::floor(static_cast<double>(width * fields.integer("hidden_ratio", 4)) * 2 / 3);
  return 256 * static_cast<std::int64_t>(std::ceil(hidden / 256));
}

ModelConfig parse(const ConfigFields& fields) {
  fields.require_absent("attn", "hybrid models, which have attention layers, are not read");
  fields.require_absent("attnres_block_size", "attention over residual blocks is not read");
  fields.require_flag("use_gate", true, "models without an output gate are not read");
  fields.require_flag("use_short_conv", true, "models without convolutions are not read");
  fields.require_text("hidden_act", {"swish", "silu"});
  fields.require_text("output_gate_activation", {"swish", "silu"});
  ModelConfig model;
  model.set_width(fields.integer("hidden_size", 2048));
  model.set_layers(fields.integer("num_hidden_layers", 21));
  model.set_heads(fields.integer("num_heads", 6));
  model.set_value_heads(fields.integer("num_v_heads", model.heads()));
  model.set_head_dim(fields.integer("head_dim", 256));
  model.set_expand_v(fields.number("expand_v", 2));
  model.set_conv_size(fields.integer("conv_size", 4));
  require_model_size("width", model.width());
  model.set_mlp_size(fields.value("intermediate_size").is_null() ? default_mlp_size(model.width(), fields)
                                                                 : fields.integer("intermediate_size"));
  model.set_vocab_size(fields.integer("vocab_size", 32000));
  model.set_tie_embeddings(fields.flag("tie_word_embeddings", false));
  model.set_norm_eps(fields.number("norm_eps", 1e-6));
  model.set_allow_neg_eigval(fields.flag("allow_neg_eigval", false));
  return model;
}

std::string tensor_of(std::string_view parameter) { return std::string(parameter); }

}  // namespace

const ForeignFormat kFlaFormat = {.name = "fla",
                                  .model_type = "gated_deltanet",
                                  .describe = describe,
                                  .parse = parse,
                                  .tensor_of = tensor_of,
                                  .norms_are_zero_centred = false,
                                  .o_norm_eps = "attn.o_norm.eps"};

}  // namespace mudelta
