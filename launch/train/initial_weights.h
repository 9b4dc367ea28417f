#pragma once

#include "core/parameter_store.h"
#include "dist/process_group.h"
#include "launch/config/config.pb.h"
#include "launch/train/weight_source.h"
#include "optim/optimizer.h"

// A run that starts from the weights of another: a new schedule, optimizer and data, the same model.

namespace mudelta {

// The configuration of such a run: what `config` leaves out of `model`, and data.tokenizer, are those of the weights.
// What only says how a model is trained (recompute, init_std, conv_init_std) is that of `config`. Throws Error, naming
// each field with both values, where `config` says another model or tokenizer.
RunConfig with_model_of(RunConfig config, const WeightSource& weights);

// Masters and values = the weights, each rank reading what it owns; the logits are those of the weights, whatever
// `multipliers` the run has. Collective over `world`. Throws the same Error on every rank if one cannot read its
// part, or reads a weight that is not finite.
void load_initial_weights(const WeightSource& weights, const ForwardMultipliers& multipliers,
                          const ParameterStore& store, Optimizer& optimizer, const ProcessGroup& world, Stream stream);

}  // namespace mudelta
