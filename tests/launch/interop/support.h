#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "launch/config/config_text.h"
#include "launch/interop/foreign_weights.h"
#include "launch/interop/model_export.h"
#include "launch/interop/model_import.h"
#include "launch/interop/model_writer.h"
#include "model/parameters.h"
#include "tests/support/compare.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/memory_weights.h"

namespace mudelta::testing {

// The small model with `changes` to its configuration.
inline RunConfig small_run(const std::string& changes = "") {
  RunConfig config, changed;
  *config.mutable_model() = small_config();
  parse_text(changes, "changes", changed);
  config.MergeFrom(changed);
  return config;
}

inline Tensor whole(const WeightSource& weights, const ParameterSpec& spec) {
  const Tensor tensor = Tensor::empty(spec.shape);
  weights.read(spec.name, {}, 0, tensor.span<float>());
  return tensor;
}

inline Tensor whole(const WeightSource& weights, const std::string& parameter) {
  for (const ParameterSpec& spec : parameter_specs(weights.config().model())) {
    if (spec.name == parameter) return whole(weights, spec);
  }
  ADD_FAILURE() << parameter;
  return {};
}

// Every parameter has the same bits in both, but for those that `excepted` says.
inline void expect_same(const WeightSource& a, const WeightSource& b,
                        const std::function<bool(const ParameterSpec&)>& excepted) {
  int compared = 0;
  for (const ParameterSpec& spec : parameter_specs(a.config().model())) {
    if (excepted(spec)) continue;
    EXPECT_TRUE(same_bits(whole(a, spec), whole(b, spec))) << spec.name;
    ++compared;
  }
  EXPECT_GT(compared, 5);
}

inline nlohmann::json read_json(const std::filesystem::path& path) { return nlohmann::json::parse(read_file(path)); }

// Changes a JSON file.
inline void edit_json(const std::filesystem::path& path, const std::function<void(nlohmann::json&)>& change) {
  nlohmann::json json = read_json(path);
  change(json);
  write_file(path, json.dump());
}

}  // namespace mudelta::testing
