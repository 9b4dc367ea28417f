#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/parameter_store.h"
#include "model/language_model.h"

namespace mudelta::oracle {

// Values of a model's parameters by name, row-major.
using Weights = std::map<std::string, std::vector<double>>;
Weights weights_of(const ParameterStore& store);

// The language model's forward pass in float64, token by token, on one batch.
class LanguageModel {
 public:
  LanguageModel(const ModelConfig& resolved, const PackedTokens& input, const Tensor& targets,
                const ForwardMultipliers& multipliers);

  // Loss of each token's target [tokens] in nats, 0 where the target is -1.
  std::vector<double> losses(const Weights& weights) const;
  double total_loss(const Weights& weights) const;

 private:
  std::vector<double> mixer(const std::vector<double>& x, const Weights& weights, const std::string& prefix) const;
  std::vector<double> mlp(const std::vector<double>& x, const Weights& weights, const std::string& prefix) const;

  ModelConfig config_;
  std::vector<std::int32_t> tokens_, cu_seqlens_, targets_;
  ForwardMultipliers multipliers_;
};

}  // namespace mudelta::oracle
