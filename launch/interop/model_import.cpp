#include "launch/interop/model_import.h"

#include <cstdint>
#include <utility>

#include "core/error.h"
#include "data/tokenizers/stored_tokenizer.h"
#include "launch/checkpoint/manifest.h"
#include "launch/config/config_text.h"
#include "launch/config/run_config.h"
#include "launch/config/run_config_validation.h"
#include "launch/interop/foreign_weights.h"
#include "launch/interop/model_writer.h"
#include "launch/interop/new_folder.h"
#include "launch/train/initial_weights.h"
#include "launch/train/scaling.h"
#include "model/config.h"

namespace mudelta {
namespace {

constexpr std::int64_t kFileBytes = std::int64_t{4} << 30;  // of weights, which are in memory a file at a time

// The weights with another configuration and the multipliers that it asks for.
class ConfiguredWeights : public WeightSource {
 public:
  ConfiguredWeights(const WeightSource& weights, RunConfig config)
      : folded_(weights, make_parametrization(config).forward_multipliers()), config_(std::move(config)) {}

  const std::filesystem::path& folder() const override { return folded_.folder(); }
  const RunConfig& config() const override { return config_; }
  ForwardMultipliers forward_multipliers() const override { return folded_.forward_multipliers(); }
  TrainingState state() const override { return folded_.state(); }
  void read(const std::string& parameter, const ParameterSlice& slice, std::int64_t begin,
            std::span<float> out) const override {
    folded_.read(parameter, slice, begin, out);
  }

 private:
  FoldedWeights folded_;
  RunConfig config_;
};

RunConfig configure(const ForeignWeights& weights, const std::vector<std::string>& overrides) {
  RunConfig given;
  apply_overrides(overrides, given);
  // The files may not say it: the program that trained them may have had another eps than config.json.
  const bool says_o_norm_eps = given.model().has_o_norm_eps();
  const double eps = given.model().o_norm_eps();
  if (says_o_norm_eps) given.mutable_model()->clear_o_norm_eps();
  RunConfig config = with_model_of(given, weights);
  if (says_o_norm_eps) config.mutable_model()->set_o_norm_eps(eps);
  *config.mutable_model() = resolve(config.model());

  ParametrizationConfig& parametrization = *config.mutable_parametrization();
  if (!parametrization.has_kind() && !parametrization.has_base_width() && !parametrization.has_depth_exponent()) {
    parametrization.set_kind(ParametrizationConfig::SP);
  }
  RunConfig valid = config;
  valid.mutable_data()->clear_sources();
  if (!valid.data().has_path()) valid.mutable_data()->set_path("none");
  validate(valid, 1);
  if (config.data().has_tokenizer()) {
    const std::int32_t ids =
        load_tokenizer(weights.folder(), parse_tokenizer_id(config.data().tokenizer())).tokenizer->vocab_size();
    require(config.model().vocab_size() >= ids,
            "{}: the vocabulary has {} ids, expected the {} of the tokenizer {} at least", weights.folder().string(),
            config.model().vocab_size(), ids, config.data().tokenizer());
  }
  return with_defaults(config);
}

std::string describe(const ForeignWeights& weights, const ConfiguredWeights& configured) {
  const RunConfig& config = configured.config();
  const ModelConfig& model = config.model();
  std::string text = fmt::format("weights        {} ({}, model_type {})\n", weights.folder().string(),
                                 weights.format().name, weights.format().model_type);
  text += fmt::format("model          width {}, {} layers, {} heads of {}, {} value heads of {}, vocabulary {}\n",
                      model.width(), model.layers(), model.heads(), model.head_dim(), model.value_heads(),
                      value_dim(model), model.vocab_size());
  text += fmt::format(
      "o_norm_eps     {:.6g}{}\n", o_norm_eps(model),
      o_norm_eps(model) == consumer_o_norm_eps(model) ? ", norm_eps x head_dim^2 as the format computes it" : "");
  text += fmt::format("multipliers    {}", ParametrizationConfig::Kind_Name(config.parametrization().kind()));
  const ForwardMultipliers multipliers = configured.forward_multipliers();
  if (multipliers.logits != 1) {
    text += fmt::format(": the logit multiplier is {:.6g}, and the gain of the final norm divided by it",
                        multipliers.logits);
  }
  if (multipliers.residual != 1) {
    text += fmt::format("{} the residual multiplier is {:.6g}, and the last matrices of mixers and MLPs divided by it",
                        multipliers.logits != 1 ? ";" : ":", multipliers.residual);
  }
  return text + fmt::format("\ntokenizer      {}\n", config.data().has_tokenizer()
                                                         ? config.data().tokenizer()
                                                         : "none is known; --set data.tokenizer=NAME says one");
}

}  // namespace

std::string import_model(const ImportRequest& request) {
  require(!std::filesystem::exists(request.from / kManifestName),
          "{} is a checkpoint already: eval, generate and train --init-from open it as it is", request.from.string());
  const ForeignWeights weights(request.from);
  const ConfiguredWeights configured(weights, configure(weights, request.overrides));
  NewFolder folder(request.out, request.force);
  write_checkpoint_of(configured, kFileBytes, folder.temporary());
  folder.commit();
  return describe(weights, configured) + fmt::format("written to {}\n", request.out.string());
}

}  // namespace mudelta
