#include "launch/train/stored_model.h"

#include "model/parameter_parts.h"
#include "model/parameters.h"

namespace mudelta {

DType compute_dtype(const TrainConfig& config) {
  return config.compute_dtype() == TrainConfig::BFLOAT16 ? DType::kBFloat16 : DType::kFloat32;
}

StoredModel::StoredModel(const RunConfig& config, const ForwardMultipliers& multipliers, WholeBuffers whole,
                         Device device, int num_shards, const TensorGroup& tensor, const ContextGroup& context)
    : store(parameter_specs(config.model()), compute_dtype(config.train()), device, num_shards,
            parameter_parts(parameter_specs(config.model()), tensor.place()), whole),
      model(config.model(), store, compute_dtype(config.train()), multipliers, tensor, context) {}

}  // namespace mudelta
