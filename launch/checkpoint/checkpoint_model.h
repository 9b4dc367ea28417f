#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/forward_multipliers.h"
#include "core/parameter_store.h"
#include "data/dataset.h"
#include "launch/checkpoint/checkpoint_reader.h"
#include "launch/config/config.pb.h"
#include "optim/parametrization.h"

namespace mudelta {

// The model that is saved, or that a checkpoint has to fit.
struct CheckpointContext {
  const RunConfig& config;  // with every default written out
  ParameterStore& store;
  std::span<const ParameterScaling> scaling;  // one entry per parameter of the store
  ForwardMultipliers forward_multipliers;
  const DatasetInfo* data_set = nullptr;       // that it is trained on; null: neither written nor compared
  const StoredTokenizer* tokenizer = nullptr;  // whose file a checkpoint keeps; may be null
  std::span<const std::string> allowed = {};   // of allowable_fields(): what of it may be another, by the user's word
};

CheckpointDataSet describe_data_set(const DatasetInfo& info);

// What a checkpoint may be told to differ in: fields of the configuration, each making it another run from there on.
// `data.path` stands for what the data set holds, `parametrization` for the multipliers of all parameters.
std::span<const std::string_view> allowable_fields();

// Writes into the manifest what a checkpoint says of its model: configuration, optimizer kind, parameters with their
// shapes, roles and multipliers, multipliers of the forward pass.
void describe_model(const CheckpointContext& context, CheckpointManifest& manifest);

ForwardMultipliers forward_multipliers_of(const CheckpointManifest& manifest);

// What of it concerns the parameters and the configuration alone: `scaling` has an entry for each of `specs`.
void describe_parameters(const RunConfig& config, std::span<const ParameterSpec> specs,
                         std::span<const ParameterScaling> scaling, const ForwardMultipliers& forward_multipliers,
                         CheckpointManifest& manifest);

// Throws Error, naming the checkpoint, the first difference and both values, unless the checkpoint's parameters have
// the names, order and shapes of `present`.
void check_parameters(const CheckpointReader& checkpoint, std::span<const ParameterSpec> present);
std::vector<ParameterSpec> specs_of(const ParameterStore& store);

// As above for all that `describe_model` writes. Of the configuration, what must agree is the model (but for its
// recomputation) and what the order of the training data depends on. Differences in context.allowed are warnings.
void check_model(const CheckpointReader& checkpoint, const CheckpointContext& context);

}  // namespace mudelta
