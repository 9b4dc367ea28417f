#pragma once

#include "core/parameter_store.h"
#include "launch/config/config.pb.h"
#include "model/language_model.h"

namespace mudelta {

DType compute_dtype(const TrainConfig& config);

// Nothing is learnt.
inline constexpr WholeBuffers kForInference{.values = true, .gradients = false};

// A model with its storage. Neither copied nor moved: the language model points into the store.
struct StoredModel {
  // config.model must be resolved. The store has this rank's part of the model on `tensor`, cut into `num_shards`.
  StoredModel(const RunConfig& config, const ForwardMultipliers& multipliers, WholeBuffers whole = {},
              Device device = {}, int num_shards = 1, const TensorGroup& tensor = {}, const ContextGroup& context = {});
  StoredModel(const StoredModel&) = delete;
  StoredModel& operator=(const StoredModel&) = delete;

  ParameterStore store;
  LanguageModel model;
};

}  // namespace mudelta
