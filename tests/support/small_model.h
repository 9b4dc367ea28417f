#pragma once

#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <string_view>
#include <vector>

#include "core/parameter_store.h"
#include "core/rng.h"
#include "model/config.h"
#include "model/language_model.h"
#include "model/parameters.h"

namespace mudelta::testing {

// Two blocks with grouped values, odd sizes everywhere, and few enough parameters to differentiate one by one.
inline ModelConfig small_config() {
  ModelConfig config;
  config.set_width(12);
  config.set_layers(2);
  config.set_heads(2);
  config.set_value_heads(4);
  config.set_head_dim(5);
  config.set_expand_v(1.4);
  config.set_mlp_size(15);
  config.set_vocab_size(11);
  return config;
}

// Value number `index` of a parameter as value(spec, index) says.
template <class F>
void fill(ParameterStore& store, F&& value) {
  for (Parameter& parameter : store.parameters()) {
    const Tensor values = Tensor::empty(parameter.spec.shape);
    for (std::int64_t i = 0; i < values.numel(); ++i) {
      values.data<float>()[i] = static_cast<float>(value(parameter.spec, i));
    }
    parameter.value.copy_from(values.to(parameter.value.dtype()));
  }
}

// The initial values of training at the base width.
inline void initialize(ParameterStore& store, std::uint64_t seed) {
  fill(store, [seed](const ParameterSpec& spec, std::int64_t i) { return initial_value(spec, seed, 1, i); });
}

// Far from the initial values of training: no gain is 1, no gate is shut, and every gradient is of a good size.
inline void randomize(ParameterStore& store, std::uint64_t seed) {
  fill(store, [seed](const ParameterSpec& spec, std::int64_t index) {
    const CounterRng rng(seed, spec.name);
    const auto i = static_cast<std::uint64_t>(index);
    switch (spec.role) {
      case Role::kEmbedding: return rng.normal(i);
      case Role::kGateScalar: return -1 + 1.5 * rng.uniform(i);
      case Role::kConv: return 0.5 * rng.normal(i);
      case Role::kNorm: return 0.5 + rng.uniform(i);
      default: return rng.normal(i) / std::sqrt(static_cast<double>(spec.fan_in));
    }
  });
}

// A language model and the store that it lives in, with random parameters.
struct SmallModel {
  explicit SmallModel(const ModelConfig& given, DType dtype = DType::kFloat32, ForwardMultipliers multipliers = {},
                      std::uint64_t seed = 1)
      : config(resolve(given)),
        store(parameter_specs(config), dtype, Device{}, 1),
        model(config, store, dtype, multipliers) {
    randomize(store, seed);
  }

  ModelConfig config;
  ParameterStore store;
  LanguageModel model;
};

struct SmallBatch {
  PackedTokens input;
  Tensor targets;
};

inline Tensor int_tensor(std::span<const std::int32_t> values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}

// [0, a, a + b, ...]
inline Tensor cu_seqlens_of(std::span<const std::int64_t> lengths) {
  std::vector<std::int32_t> ends{0};
  for (const std::int64_t length : lengths) ends.push_back(ends.back() + static_cast<std::int32_t>(length));
  return int_tensor(ends);
}

// Documents of the given lengths packed into one row. Tokens and targets are random; every fifth target is -1.
inline SmallBatch make_batch(std::span<const std::int64_t> lengths, std::int64_t vocab, std::uint64_t seed = 1) {
  const CounterRng rng(seed, "batch");
  const std::int64_t total = std::reduce(lengths.begin(), lengths.end());
  std::vector<std::int32_t> tokens, targets;
  for (std::int64_t i = 0; i < total; ++i) {
    const auto draw = [&](std::int64_t index) {
      return static_cast<std::int32_t>(rng.bits(static_cast<std::uint64_t>(index)) % static_cast<std::uint64_t>(vocab));
    };
    tokens.push_back(draw(2 * i));
    targets.push_back(i % 5 == 4 ? -1 : draw(2 * i + 1));
  }
  return {{int_tensor(tokens), cu_seqlens_of(lengths)}, int_tensor(targets)};
}

}  // namespace mudelta::testing
