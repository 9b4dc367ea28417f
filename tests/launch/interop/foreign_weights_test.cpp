#include "launch/interop/foreign_weights.h"

#include <gmock/gmock.h>

#include <cmath>

#include "launch/checkpoint/safetensors.h"
#include "launch/interop/probe.h"
#include "model/config.h"
#include "tests/launch/interop/support.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kOneFile = 1 << 30, kTokens = 33;

// A folder of the format with the weights of a small run.
struct Written {
  explicit Written(const ForeignFormat& format, const std::string& changes = "", DType dtype = DType::kFloat32,
                   std::int64_t file_bytes = kOneFile)
      : weights(small_run(changes)) {
    write_foreign_model(weights, format, dtype, file_bytes, folder.path());
  }
  std::filesystem::path config() const { return folder / "config.json"; }
  std::string error() const {
    return error_of([&] { const ForeignWeights opened(folder.path()); });
  }
  std::string error_with(const std::function<void(nlohmann::json&)>& change) const {
    const std::string before = read_file(config());
    edit_json(config(), change);
    const std::string found = error();
    write_file(config(), before);
    return found;
  }

  TemporaryFolder folder;
  MemoryWeights weights;
};

Tensor logits_of(const WeightSource& weights) {
  return probe_logits(weights, o_norm_eps(weights.config().model()), DType::kFloat32, kTokens, "tokens");
}

bool ends_branch(const ParameterSpec& spec) {
  return spec.name.ends_with("o_proj.weight") || spec.name.ends_with("down_proj.weight");
}
bool is_final_norm(const ParameterSpec& spec) { return spec.name == "model.norm.weight"; }
bool is_residual_norm(const ParameterSpec& spec) {
  return spec.role == Role::kNorm && spec.name.find("o_norm") == std::string::npos;
}

TEST(ForeignWeights, ComeBackBitForBitAndWithTheirLogits) {
  for (const std::string changes :
       {"", "model { tie_embeddings: false head_dim: 6 expand_v: 1.5 conv_size: 3 }",
        "model { value_heads: 2 norm_eps: 1e-5 o_norm_eps: 0.25 } data { tokenizer: 'byte' }",
        "parametrization { base_width: 4 base_head_dim: 5 base_mlp_size: 5 }",
        "parametrization { base_width: 6 base_head_dim: 5 base_mlp_size: 5 base_layers: 3 depth_exponent: 0.75 }"}) {
    SCOPED_TRACE(changes);
    for (const ForeignFormat* format : foreign_formats()) {
      SCOPED_TRACE(format->name);
      const Written written(*format, changes);
      const ForeignWeights found(written.folder.path());
      const bool folds = written.weights.forward_multipliers().logits != 1;
      EXPECT_EQ(folds, changes.find("base") != std::string::npos);
      const bool folds_residual = written.weights.forward_multipliers().residual != 1;
      EXPECT_EQ(folds_residual, changes.find("depth") != std::string::npos);
      expect_same(written.weights, found, [&](const ParameterSpec& spec) {
        return (folds && is_final_norm(spec)) || (folds_residual && ends_branch(spec)) ||
               (format == &kQwen35Format && is_residual_norm(spec));
      });
      EXPECT_EQ(found.forward_multipliers(), ForwardMultipliers());
      EXPECT_EQ(found.config().parametrization().kind(), ParametrizationConfig::SP);
      EXPECT_EQ(o_norm_eps(found.config().model()), o_norm_eps(written.weights.config().model()));
      EXPECT_EQ(found.config().data().tokenizer(), written.weights.config().data().tokenizer());
      const Tensor expected = logits_of(written.weights);
      EXPECT_LT(largest_difference(logits_of(found), expected), 1e-5 * largest(expected));
      EXPECT_GT(largest(expected), 0.1);
    }
  }
}

// The gain of a zero-centred norm is stored less 1, that of o_norm as it is.
TEST(ForeignWeights, AreStoredAsTheFormatHasThem) {
  const Written written(kQwen35Format, "parametrization { base_width: 6 base_head_dim: 5 base_mlp_size: 5 }");
  ASSERT_EQ(written.weights.forward_multipliers().logits, 0.5);
  const SafetensorsFile file(written.folder / "model.safetensors");
  const auto first = [&](const std::string& tensor, std::int64_t row = 0) {
    return file.read(tensor).slice(row, row + 1).data<float>()[0];
  };
  const auto ours = [&](const std::string& parameter) { return whole(written.weights, parameter).data<float>()[0]; };
  EXPECT_EQ(first("model.layers.1.input_layernorm.weight"), ours("model.layers.1.attn_norm.weight") - 1);
  EXPECT_EQ(first("model.norm.weight"), 0.5F * ours("model.norm.weight") - 1);
  EXPECT_EQ(first("model.layers.1.linear_attn.norm.weight"), ours("model.layers.1.attn.o_norm.weight"));
  EXPECT_EQ(first("model.layers.0.linear_attn.in_proj_qkv.weight", 10), ours("model.layers.0.attn.k_proj.weight"));
  EXPECT_EQ(first("model.layers.0.linear_attn.conv1d.weight", 20), ours("model.layers.0.attn.v_conv1d.weight"));
  EXPECT_EQ(file.find("model.layers.0.linear_attn.in_proj_qkv.weight").shape, Shape({10 + 10 + 28, 12}));
  EXPECT_FALSE(file.entries().contains("lm_head.weight"));  // tied
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.entries().size(), 2u + 2 * 15 - 2 * 4 + 2 * 3);
}

TEST(ForeignWeights, ConfigSaysTheModel) {
  const std::string changes = "model { head_dim: 100 expand_v: 1.15 allow_neg_eigval: true tie_embeddings: false }";
  const auto fla = read_json(Written(kFlaFormat, changes + " data { tokenizer: 'byte' }").config());
  EXPECT_EQ(fla["model_type"], "gated_deltanet");
  EXPECT_EQ(fla["architectures"], nlohmann::json({"GatedDeltaNetForCausalLM"}));
  EXPECT_EQ(fla["head_dim"], 100);
  EXPECT_EQ(std::trunc(100 * fla["expand_v"].get<double>()), 115);  // as fla reckons; 100 x 1.15 is a little less
  EXPECT_EQ(fla["num_heads"], 2);
  EXPECT_EQ(fla["num_v_heads"], 4);
  EXPECT_EQ(fla["intermediate_size"], 15);
  EXPECT_EQ(fla["norm_eps"], 1e-6);
  EXPECT_EQ(fla["allow_neg_eigval"], true);
  EXPECT_EQ(fla["tie_word_embeddings"], false);
  EXPECT_EQ(fla["bos_token_id"], 256);
  EXPECT_EQ(fla["dtype"], "float32");

  const Written written(kQwen35Format, "", DType::kBFloat16);
  const auto qwen = read_json(written.config());
  EXPECT_EQ(qwen["model_type"], "qwen3_5_text");
  EXPECT_EQ(qwen["layer_types"], nlohmann::json({"linear_attention", "linear_attention"}));
  EXPECT_EQ(qwen["linear_key_head_dim"], 5);
  EXPECT_EQ(qwen["linear_value_head_dim"], 7);
  EXPECT_EQ(qwen["use_cache"], false);
  EXPECT_EQ(qwen["dtype"], "bfloat16");
  EXPECT_TRUE(qwen["eos_token_id"].is_null());
  EXPECT_EQ(read_json(written.folder / "generation_config.json")["use_cache"], false);
}

TEST(ForeignWeights, BFloat16RoundsMatricesAlone) {
  const Written written(kFlaFormat, "", DType::kBFloat16);
  const ForeignWeights found(written.folder.path()), rounded(written.folder.path(), DType::kBFloat16);
  for (const ParameterSpec& spec : parameter_specs(found.config().model())) {
    const Tensor expected = whole(written.weights, spec);
    const Tensor in_bfloat16 = expected.to(DType::kBFloat16).to(DType::kFloat32);
    EXPECT_TRUE(same_bits(whole(found, spec), spec.keep_float32 ? expected : in_bfloat16)) << spec.name;
    EXPECT_TRUE(same_bits(whole(rounded, spec), in_bfloat16)) << spec.name;
  }
}

TEST(ForeignWeights, LargeModelsHaveSeveralFiles) {
  for (const ForeignFormat* format : foreign_formats()) {
    const Written written(*format, "", DType::kFloat32, 1500);
    const auto index = read_json(written.folder / "model.safetensors.index.json");
    EXPECT_GT(index["metadata"]["total_size"], 1500);
    const std::string last = index["weight_map"]["model.norm.weight"];
    EXPECT_EQ(last, "model-" + last.substr(last.size() - 17, 5) + last.substr(11));  // ...-0000N-of-0000N
    EXPECT_FALSE(std::filesystem::exists(written.folder / "model.safetensors"));
    const ForeignWeights found(written.folder.path());
    expect_same(written.weights, found,
                [&](const ParameterSpec& spec) { return format == &kQwen35Format && is_residual_norm(spec); });
    EXPECT_EQ(o_norm_eps(found.config().model()), 4e-3);

    std::filesystem::remove(written.folder / last);
    EXPECT_THAT(written.error(), HasSubstr(last));
    edit_json(written.folder / "model.safetensors.index.json",
              [](nlohmann::json& json) { json["weight_map"]["model.norm.weight"] = "../other.safetensors"; });
    EXPECT_THAT(written.error(), AllOf(HasSubstr("index.json: model.norm.weight is in \"../other.safetensors\""),
                                       HasSubstr("expected the name of a .safetensors file")));
  }
}

TEST(ForeignWeights, AreReadInSlices) {
  for (const ForeignFormat* format : foreign_formats()) {
    const Written written(*format);
    const ForeignWeights found(written.folder.path());
    for (const ParameterSpec& spec : parameter_specs(found.config().model())) {
      const Tensor expected = whole(found, spec);
      for (int dim = 0; dim < spec.shape.rank(); ++dim) {
        const ParameterSlice slice{dim, spec.shape[dim] / 3, spec.shape[dim] - spec.shape[dim] / 4};
        const SliceMap map(spec.shape, slice);
        const std::int64_t begin = map.numel() / 5, end = map.numel() - map.numel() / 7;
        std::vector<float> part(static_cast<std::size_t>(end - begin));
        found.read(spec.name, slice, begin, part);
        for (std::int64_t i = begin; i < end; ++i) {
          ASSERT_EQ(part[static_cast<std::size_t>(i - begin)], expected.data<float>()[map.whole_index(i)])
              << spec.name << " " << slice.to_string() << " " << i;
        }
      }
    }
  }
}

// What another program has written anew means what it computes.
TEST(ForeignWeights, WithoutMetadataHaveTheEpsOfTheirFormat) {
  const Written written(kFlaFormat, "model { norm_eps: 1e-5 } data { tokenizer: 'byte' }");
  const std::filesystem::path path = written.folder / "model.safetensors";
  std::vector<std::pair<std::string, Tensor>> tensors;
  const SafetensorsFile file(path);
  for (const auto& [key, entry] : file.entries()) tensors.emplace_back(key, file.read(key));
  write_safetensors(path, tensors, {{"format", "pt"}});
  const ForeignWeights found(written.folder.path());
  EXPECT_DOUBLE_EQ(o_norm_eps(found.config().model()), 1e-5 * 25);
  EXPECT_FALSE(found.config().data().has_tokenizer());

  write_safetensors(path, tensors, {{"mudelta.o_norm_eps", "-1"}});
  EXPECT_THAT(written.error(), HasSubstr("mudelta.o_norm_eps is \"-1\", expected a number above 0"));

  tensors.emplace_back("model.layers.0.attn.q_proj.bias", Tensor::zeros({10}));
  write_safetensors(path, tensors, {});
  EXPECT_THAT(written.error(), AllOf(HasSubstr("model.safetensors: there is no place in the model for"),
                                     HasSubstr("model.layers.0.attn.q_proj.bias")));
  tensors.resize(1);
  write_safetensors(path, tensors, {});
  EXPECT_THAT(written.error(), HasSubstr("num_hidden_layers is 2, but there are 1 tensors in all"));
  write_file(path, "not a model");
  EXPECT_THAT(written.error(), HasSubstr("model.safetensors: "));
  std::filesystem::remove(path);
  EXPECT_THAT(written.error(), HasSubstr("holds neither model.safetensors nor model.safetensors.index.json"));
}

TEST(ForeignWeights, OfOtherModelsAreRefused) {
  using Json = nlohmann::json;
  const Written fla(kFlaFormat), qwen(kQwen35Format);
  EXPECT_EQ(fla.error(), "no error was thrown");
  const auto set = [](const std::string& name, const Json& value) {
    return [name, value](Json& json) { json[name] = value; };
  };
  const auto remove = [](const std::string& name) { return [name](Json& json) { json.erase(name); }; };
  EXPECT_THAT(fla.error_with(set("model_type", "llama")),
              AllOf(HasSubstr("config.json: model_type is \"llama\", expected gated_deltanet or qwen3_5_text")));
  EXPECT_THAT(fla.error_with(set("attn", {{"layers", {1}}})),
              AllOf(HasSubstr("config.json: attn is {\"layers\":[1]}"), HasSubstr("hybrid models")));
  EXPECT_THAT(qwen.error_with(set("layer_types", {"linear_attention", "full_attention"})),
              AllOf(HasSubstr("layer_types[1] is \"full_attention\""), HasSubstr("hybrid models")));
  EXPECT_THAT(qwen.error_with(remove("layer_types")), HasSubstr("hybrid models"));
  EXPECT_THAT(fla.error_with(set("use_gate", false)), HasSubstr("use_gate is false, expected true"));
  EXPECT_THAT(fla.error_with(set("use_short_conv", false)), HasSubstr("use_short_conv is false, expected true"));
  EXPECT_THAT(fla.error_with(set("output_gate_activation", "sigmoid")),
              HasSubstr("output_gate_activation is \"sigmoid\", expected swish or silu"));
  EXPECT_THAT(qwen.error_with(set("hidden_act", "gelu")), HasSubstr("hidden_act is \"gelu\", expected silu"));
  EXPECT_THAT(fla.error_with(set("hidden_size", "wide")),
              HasSubstr("hidden_size is \"wide\", expected a whole number"));
  EXPECT_THAT(fla.error_with(set("num_heads", 3)), HasSubstr("config.json: model.value_heads is 4"));
  EXPECT_THAT(qwen.error_with(set("linear_key_head_dim", 0)), HasSubstr("model.head_dim is 0"));
  EXPECT_THAT(
      fla.error_with(set("vocab_size", 12)),
      HasSubstr("model.safetensors: model.embeddings.weight has shape [11, 12], expected [12, 12] by config.json"));
  EXPECT_THAT(fla.error_with(set("tie_word_embeddings", false)), HasSubstr("holds no tensor named lm_head.weight"));
  // The default of hidden_ratio 4: 256 x ceil(32 / 256).
  EXPECT_THAT(fla.error_with(remove("intermediate_size")), HasSubstr("expected [256, 12] by config.json"));
  write_file(qwen.config(), "{");
  EXPECT_THAT(qwen.error(), HasSubstr("config.json is not a JSON object"));
}

TEST(ForeignWeights, OpenedByWhatTheFolderHolds) {
  const TemporaryFolder empty;
  EXPECT_THAT(error_of([&] { open_weights(empty.path()); }), HasSubstr("is neither a checkpoint"));
  const Written written(kFlaFormat);
  EXPECT_EQ(open_weights(written.folder.path())->config().model().width(), 12);
}

}  // namespace
}  // namespace mudelta::testing
