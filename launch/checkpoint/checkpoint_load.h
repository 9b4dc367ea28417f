#pragma once

#include "core/parameter_store.h"
#include "dist/process_group.h"
#include "launch/checkpoint/checkpoint_model.h"
#include "launch/checkpoint/checkpoint_reader.h"
#include "optim/optimizer.h"

namespace mudelta {

// Reads weights and optimizer state into `optimizer`, whatever ranks and slices they were written by, and gives every
// rank the new weights. Collective over `group`, as save_checkpoint is.
// Throws the same Error on every rank if the checkpoint's model, optimizer kind or multipliers are not those of
// `context` (naming the first difference), if the data set or the order of its rows is another, or if a file is missing
// or damaged (naming it, and the newest sound checkpoint before this one); the optimizer's state is then undefined.
TrainingState load_checkpoint(const CheckpointReader& checkpoint, const CheckpointContext& context,
                              Optimizer& optimizer, const ProcessGroup& group, Stream stream);

// Weights alone, for inference: the store's values = its parts of the float32 masters, rounded to each value's dtype.
// Not collective. Throws Error on a parameter that is missing, unknown to the store or of another shape, on a weight
// that is not finite, and on damage.
void load_weights(const CheckpointReader& checkpoint, ParameterStore& store);

}  // namespace mudelta
