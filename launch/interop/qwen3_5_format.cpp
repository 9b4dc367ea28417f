// transformers' Qwen3_5ForCausalLM where all of its layers are gated delta networks.

#include <array>
#include <utility>

#include "core/error.h"
#include "launch/interop/foreign_format.h"
#include "model/config.h"
#include "model/parameters.h"

namespace mudelta {
namespace {

constexpr std::string_view kLinear = "linear_attention";

// Of its attention layers, which there are none of; it wants sizes for them all the same.
constexpr int kAttentionHeads = 1, kAttentionHeadDim = 256;
constexpr double kRotaryFactor = 0.25, kRopeTheta = 10000;

nlohmann::ordered_json describe(const ModelConfig& model) {
  require(!model.allow_neg_eigval(), "model.allow_neg_eigval is true: qwen3_5 has no such models, fla has");
  return {{"architectures", {"Qwen3_5ForCausalLM"}},
          {"model_type", kQwen35Format.model_type},
          {"vocab_size", model.vocab_size()},
          {"hidden_size", model.width()},
          {"intermediate_size", model.mlp_size()},
          {"num_hidden_layers", model.layers()},
          {"layer_types", std::vector<std::string_view>(static_cast<std::size_t>(model.layers()), kLinear)},
          {"linear_num_key_heads", model.heads()},
          {"linear_num_value_heads", model.value_heads()},
          {"linear_key_head_dim", model.head_dim()},
          {"linear_value_head_dim", value_dim(model)},
          {"linear_conv_kernel_dim", model.conv_size()},
          {"hidden_act", "silu"},
          {"rms_norm_eps", model.norm_eps()},
          {"tie_word_embeddings", model.tie_embeddings()},
          {"num_attention_heads", kAttentionHeads},
          {"num_key_value_heads", kAttentionHeads},
          {"head_dim", kAttentionHeadDim},
          {"rope_parameters",
           {{"rope_type", "default"}, {"rope_theta", kRopeTheta}, {"partial_rotary_factor", kRotaryFactor}}},
          {"use_cache", false}};  // its cache needs an attention layer
}

void require_linear_layers(const ConfigFields& fields, std::int64_t layers) {
  const nlohmann::json& types = fields.value("layer_types");
  require(types.is_array() && std::cmp_equal(types.size(), layers),
          "{}: layer_types is {}, expected {} times \"{}\": hybrid models, which have attention layers, are not read",
          fields.file(), types.is_array() ? "a list of " + std::to_string(types.size()) : "not a list", layers,
          kLinear);
  for (std::size_t layer = 0; layer < types.size(); ++layer) {
    require(types[layer].is_string() && types[layer].get<std::string>() == kLinear,
            "{}: layer_types[{}] is {}, expected \"{}\": hybrid models, which have attention layers, are not read",
            fields.file(), layer, types[layer].dump(), kLinear);
  }
}

ModelConfig parse(const ConfigFields& fields) {
  fields.require_text("hidden_act", {"silu"});
  ModelConfig model;
  model.set_layers(fields.integer("num_hidden_layers", 32));
  require_linear_layers(fields, model.layers());
  model.set_width(fields.integer("hidden_size", 4096));
  model.set_heads(fields.integer("linear_num_key_heads", 16));
  model.set_value_heads(fields.integer("linear_num_value_heads", 32));
  model.set_head_dim(fields.integer("linear_key_head_dim", 128));
  require_model_size("head_dim", model.head_dim());
  model.set_expand_v(static_cast<double>(fields.integer("linear_value_head_dim", 128)) /
                     static_cast<double>(model.head_dim()));
  model.set_conv_size(fields.integer("linear_conv_kernel_dim", 4));
  model.set_mlp_size(fields.integer("intermediate_size", 12288));
  model.set_vocab_size(fields.integer("vocab_size", 248320));
  model.set_tie_embeddings(fields.flag("tie_word_embeddings", false));
  model.set_norm_eps(fields.number("rms_norm_eps", 1e-6));
  return model;
}

// Names in a layer.
constexpr std::array<std::pair<std::string_view, std::string_view>, 15> kNames = {{
    {"attn_norm.weight", "input_layernorm.weight"},
    {"attn.q_proj.weight", "linear_attn.in_proj_qkv.weight"},
    {"attn.k_proj.weight", "linear_attn.in_proj_qkv.weight"},
    {"attn.v_proj.weight", "linear_attn.in_proj_qkv.weight"},
    {"attn.a_proj.weight", "linear_attn.in_proj_a.weight"},
    {"attn.b_proj.weight", "linear_attn.in_proj_b.weight"},
    {"attn.A_log", "linear_attn.A_log"},
    {"attn.dt_bias", "linear_attn.dt_bias"},
    {"attn.q_conv1d.weight", "linear_attn.conv1d.weight"},
    {"attn.k_conv1d.weight", "linear_attn.conv1d.weight"},
    {"attn.v_conv1d.weight", "linear_attn.conv1d.weight"},
    {"attn.g_proj.weight", "linear_attn.in_proj_z.weight"},
    {"attn.o_norm.weight", "linear_attn.norm.weight"},
    {"attn.o_proj.weight", "linear_attn.out_proj.weight"},
    {"mlp_norm.weight", "post_attention_layernorm.weight"},
}};

std::string tensor_of(std::string_view parameter) {
  if (parameter == "model.embeddings.weight") return "model.embed_tokens.weight";
  const ParameterPlace place = place_of(parameter);
  for (const auto& [ours, theirs] : kNames) {
    if (place.layer >= 0 && place.name == ours) return layer_prefix(place.layer) + std::string(theirs);
  }
  return std::string(parameter);  // the MLP, the final norm, lm_head
}

}  // namespace

const ForeignFormat kQwen35Format = {.name = "qwen3_5",
                                     .model_type = "qwen3_5_text",
                                     .describe = describe,
                                     .parse = parse,
                                     .tensor_of = tensor_of,
                                     .norms_are_zero_centred = true,
                                     .o_norm_eps = "linear_attn.norm.variance_epsilon"};

}  // namespace mudelta
