#include "launch/train/initial_weights.h"

#include <fmt/ranges.h>

#include <vector>

#include "core/error.h"
#include "launch/job/agreement.h"
#include "launch/train/resume_notes.h"
#include "model/config.h"

namespace mudelta {
namespace {

// What of a resolved model its weights depend on, each thing said in one way.
RunConfig essence(ModelConfig model) {
  model.set_o_norm_eps(o_norm_eps(model));
  model.clear_query_scale();
  model.clear_mlp_ratio();  // mlp_size says it
  model.clear_recompute();
  model.clear_init_std();
  model.clear_conv_init_std();
  RunConfig config;
  *config.mutable_model() = model;
  return config;
}

}  // namespace

RunConfig with_model_of(RunConfig config, const WeightSource& weights) {
  const ModelConfig given = config.model();
  const RunConfig theirs = essence(weights.config().model());
  ModelConfig model = theirs.model();
  if (given.has_mlp_ratio()) model.clear_mlp_size();
  if (given.has_query_scale()) model.clear_o_norm_eps();
  model.MergeFrom(given);
  model = resolve(model);
  const std::vector<std::string> differences = config_changes(theirs, essence(model));
  require(differences.empty(), "the weights in {} are of another model (weights -> configuration): {}",
          weights.folder().string(), fmt::join(differences, "; "));
  *config.mutable_model() = model;

  if (weights.config().data().has_tokenizer()) {
    const std::string& tokenizer = weights.config().data().tokenizer();
    if (!config.data().has_tokenizer()) config.mutable_data()->set_tokenizer(tokenizer);
    require(config.data().tokenizer() == tokenizer, "data.tokenizer is {}: the weights in {} learnt {}",
            config.data().tokenizer(), weights.folder().string(), tokenizer);
  }
  return config;
}

void load_initial_weights(const WeightSource& weights, const ForwardMultipliers& multipliers,
                          const ParameterStore& store, Optimizer& optimizer, const ProcessGroup& world, Stream stream) {
  const FoldedWeights folded(weights, multipliers);
  run_or_fail_together(world, [&] {
    for (const OptimizerSegment& segment : optimizer.segments()) {
      const Parameter& parameter = store.parameters()[segment.parameter];
      const Tensor& master = segment.state[0].second;
      const Tensor read = Tensor::empty(master.shape());
      read_finite(folded, parameter, segment.begin, read.span<float>());
      master.copy_from(read);
    }
  });
  optimizer.state_loaded(0, stream);
}

}  // namespace mudelta
