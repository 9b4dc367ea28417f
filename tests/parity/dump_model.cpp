// Runs the mixer and the whole language model on random inputs and writes what went in and what came out, for
// compare_torch.py to recompute: FOLDER/CASE/index.json names the case's tensors, one raw little-endian file each.

#include <fmt/format.h>

#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "model/mixer.h"
#include "tests/support/random.h"
#include "tests/support/small_model.h"

namespace mudelta::testing {
namespace {

class CaseWriter {
 public:
  CaseWriter(const std::filesystem::path& root, const std::string& name, const ModelConfig& c) : folder_(root / name) {
    std::filesystem::create_directories(folder_);
    index_["config"] = {{"layers", c.layers()},
                        {"heads", c.heads()},
                        {"value_heads", c.value_heads()},
                        {"head_dim", c.head_dim()},
                        {"value_dim", value_dim(c)},
                        {"norm_eps", c.norm_eps()},
                        {"o_norm_eps", o_norm_eps(c)},
                        {"tie_embeddings", c.tie_embeddings()},
                        {"allow_neg_eigval", c.allow_neg_eigval()}};
  }

  void set(const std::string& key, const nlohmann::json& value) { index_[key] = value; }

  // `section`: "inputs", "weights", "outputs" or "gradients".
  void add(const std::string& section, const std::string& name, const Tensor& tensor) {
    const std::string file = fmt::format("{}.{}.bin", section, name);
    write(file, reinterpret_cast<const char*>(tensor.raw()), tensor.num_bytes());
    index_[section][name] = {{"file", file}, {"dtype", name_of(tensor.dtype())}, {"shape", tensor.shape().sizes()}};
  }

  void add_parameters(ParameterStore& store, const std::string& prefix) {
    for (const Parameter& parameter : store.parameters()) {
      if (!parameter.spec.name.starts_with(prefix)) continue;
      add("weights", parameter.spec.name, parameter.value);
      add("gradients", parameter.spec.name, parameter.gradient);
    }
  }

  void finish() {
    const std::string text = index_.dump(1);
    write("index.json", text.data(), static_cast<std::int64_t>(text.size()));
  }

 private:
  void write(const std::string& file, const char* bytes, std::int64_t num_bytes) {
    std::ofstream out(folder_ / file, std::ios::binary);
    out.write(bytes, num_bytes).flush();
    require(out.good(), "cannot write {}", (folder_ / file).string());
  }

  std::filesystem::path folder_;
  nlohmann::json index_;
};

void dump_mixer(const std::filesystem::path& root, const std::string& name, const ModelConfig& given,
                const std::vector<std::int64_t>& lengths) {
  SmallModel small(given);
  const std::string prefix = layer_prefix(0) + "attn.";
  const Mixer mixer(small.config, small.store, prefix);
  Pass pass{.cu_seqlens = cu_seqlens_of(lengths), .stream = Stream{}};

  const Shape shape{std::reduce(lengths.begin(), lengths.end()), small.config.width()};
  const Tensor x = random_normal(shape, "x"), dy = random_normal(shape, "dy");
  const Tensor y = Tensor::zeros(shape);
  mixer.forward_add(x, y, nullptr, pass);
  const Tensor dx = mixer.backward(dy, pass);

  CaseWriter writer(root, name, small.config);
  writer.set("kind", "mixer");
  writer.set("prefix", prefix);
  writer.add("inputs", "x", x);
  writer.add("inputs", "dy", dy);
  writer.add("inputs", "cu_seqlens", pass.cu_seqlens);
  writer.add("outputs", "y", y);
  writer.add("gradients", "x", dx);
  writer.add_parameters(small.store, prefix);
  writer.finish();
}

void dump_language_model(const std::filesystem::path& root, const std::string& name, const ModelConfig& given,
                         const std::vector<std::int64_t>& lengths) {
  constexpr double kLogitMultiplier = 0.3, kGradientScale = 0.25;
  SmallModel small(given, DType::kFloat32, {.logits = kLogitMultiplier});
  const SmallBatch batch = make_batch(lengths, small.config.vocab_size());

  CaseWriter writer(root, name, small.config);
  writer.set("kind", "language_model");
  writer.set("logit_multiplier", kLogitMultiplier);
  writer.set("gradient_scale", kGradientScale);
  writer.add("inputs", "tokens", batch.input.tokens);
  writer.add("inputs", "targets", batch.targets);
  writer.add("inputs", "cu_seqlens", batch.input.cu_seqlens);
  writer.add("outputs", "losses",
             small.model.losses_and_gradients(batch.input, batch.targets, kGradientScale, Stream{}));
  writer.add_parameters(small.store, "");
  writer.finish();
}

ModelConfig parity_config() {
  ModelConfig config;
  config.set_width(48);
  config.set_layers(1);
  config.set_heads(2);
  config.set_head_dim(16);
  config.set_vocab_size(37);
  return config;
}

void dump_all(const std::filesystem::path& root) {
  std::filesystem::remove_all(root);
  const ModelConfig plain = parity_config();
  dump_mixer(root, "mixer_plain", plain, {50});

  ModelConfig grouped = plain;
  grouped.set_value_heads(6);
  dump_mixer(root, "mixer_grouped_values", grouped, {50});

  ModelConfig negative = plain;
  negative.set_allow_neg_eigval(true);
  dump_mixer(root, "mixer_negative_eigenvalues", negative, {50});

  dump_mixer(root, "mixer_packed", plain, {37, 2, 33});
  dump_mixer(root, "mixer_long", plain, {300});

  ModelConfig odd = plain;
  odd.set_head_dim(10);
  odd.set_expand_v(1.5);
  odd.set_conv_size(3);
  dump_mixer(root, "mixer_odd_sizes", odd, {45});

  ModelConfig sharp = plain;
  sharp.set_o_norm_eps(1e-6);
  dump_mixer(root, "mixer_small_o_norm_eps", sharp, {50});

  ModelConfig blunt = plain;
  blunt.set_o_norm_eps(0.5);
  dump_mixer(root, "mixer_large_o_norm_eps", blunt, {50});

  ModelConfig tied = parity_config();
  tied.set_layers(2);
  dump_language_model(root, "language_model_tied", tied, {41, 3, 20});

  ModelConfig untied = grouped;
  untied.set_layers(2);
  untied.set_tie_embeddings(false);
  untied.set_allow_neg_eigval(true);
  dump_language_model(root, "language_model_untied", untied, {23, 41});
}

}  // namespace
}  // namespace mudelta::testing

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: dump_model FOLDER (replaced if it exists)\n";
    return 2;
  }
  try {
    mudelta::testing::dump_all(argv[1]);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
