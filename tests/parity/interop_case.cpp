// What compare_interop.py needs of the program's models:
//   interop_case make FOLDER                 checkpoints of random weights, FOLDER/CASE each
//   interop_case logits DIR TOKENS OUT EPS   TOKENS: a file of numbers. OUT: the logits of the weights in DIR (of any
//   kind
//                                            that export takes) as raw float32, computed with model.o_norm_eps EPS
//                                            (0: that of the weights)

#include <fmt/format.h>

#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "core/error.h"
#include "launch/config/config_text.h"
#include "launch/interop/foreign_weights.h"
#include "launch/interop/model_writer.h"
#include "launch/train/stored_model.h"
#include "tests/support/memory_weights.h"

namespace mudelta::testing {
namespace {

constexpr std::string_view kModel =
    "width: 48 layers: 2 heads: 2 head_dim: 16 mlp_size: 72 vocab_size: 37 o_norm_eps: 2.56e-4 ";  // norm_eps x 16^2

void make(const std::filesystem::path& root, const std::string& name, const std::string& model,
          const std::string& more = "") {
  RunConfig config, changes;
  parse_text(fmt::format("model {{ {} }}", kModel), name, config);
  parse_text(fmt::format("model {{ {} }} {}", model, more), name, changes);
  config.MergeFrom(changes);
  std::filesystem::create_directories(root / name);
  write_checkpoint_of(MemoryWeights(config), std::int64_t{1} << 30, root / name);
}

void make_all(const std::filesystem::path& root) {
  std::filesystem::remove_all(root);
  make(root, "plain", "");
  make(root, "untied", "tie_embeddings: false value_heads: 6 norm_eps: 1e-5 o_norm_eps: 2.56e-3");
  make(root, "odd", "head_dim: 10 expand_v: 1.5 conv_size: 3 o_norm_eps: 1e-4");
  make(root, "mup", "", "parametrization { base_width: 16 base_head_dim: 16 }");
  make(root, "blunt", "o_norm_eps: 0.1 mlp_size: 3000", "parametrization { base_width: 16 base_head_dim: 16 }");
  make(root, "negative", "allow_neg_eigval: true");
}

void write_logits(const std::filesystem::path& folder, const std::string& tokens_file, const std::string& out,
                  double eps) {
  const std::unique_ptr<const WeightSource> weights = open_weights(folder);
  RunConfig config = weights->config();
  if (eps > 0) config.mutable_model()->set_o_norm_eps(eps);
  config.clear_train();
  StoredModel stored(config, weights->forward_multipliers());
  for (const Parameter& parameter : stored.store.parameters()) {
    read_finite(*weights, parameter, 0, parameter.value.span<float>());
  }
  std::ifstream text(tokens_file);
  const std::vector<std::int32_t> tokens{std::istream_iterator<std::int32_t>(text), {}};
  const auto count = static_cast<std::int64_t>(tokens.size());
  const std::int32_t ends[] = {0, static_cast<std::int32_t>(count)};
  const Tensor logits =
      stored.model.logits({Tensor::from(tokens, {count}), Tensor::from(ends, {2})}, nullptr, Stream());
  std::ofstream file(out, std::ios::binary);
  file.write(reinterpret_cast<const char*>(logits.raw()), logits.num_bytes()).flush();
  require(file.good(), "cannot write {}", out);
}

}  // namespace
}  // namespace mudelta::testing

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  try {
    if (arguments.size() == 2 && arguments[0] == "make") {
      mudelta::testing::make_all(arguments[1]);
    } else if (arguments.size() == 5 && arguments[0] == "logits") {
      mudelta::testing::write_logits(arguments[1], arguments[2], arguments[3], std::stod(arguments[4]));
    } else {
      std::cerr << "usage: see the head of interop_case.cpp\n";
      return 2;
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
