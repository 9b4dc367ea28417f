#include "launch/checkpoint/checkpoint_model.h"

#include <glog/logging.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "launch/checkpoint/manifest.h"
#include "model/config.h"
#include "optim/optimizer_kind.h"

namespace mudelta {
namespace {

// Multipliers are powers of ratios, whose last bits depend on the mathematical library.
bool same_multiplier(double a, double b) {
  return std::isfinite(a) && std::isfinite(b) && std::abs(a - b) <= 1e-12 * std::max(std::abs(a), std::abs(b));
}

// Reads "WHERE: WHAT is A in the checkpoint, B here".
template <class T>
void require_same(const std::string& where, std::string_view what, const T& stored, const T& present) {
  require(stored == present, "{}: {} is {} in the checkpoint, {} here", where, what, stored, present);
}

constexpr std::string_view kMultipliers = "parametrization", kDataSet = "data.path";
constexpr std::array<std::string_view, 12> kAllowable = {
    "model.norm_eps",      "model.o_norm_eps", "model.allow_neg_eigval", "model.init_std",
    "model.conv_init_std", kDataSet,           "data.shuffle",           "data.reset_at_documents",
    "train.global_batch",  "train.seed",       "train.sequence_length",  kMultipliers};

// Comparisons of a checkpoint with what is here.
class Comparison {
 public:
  Comparison(std::string where, std::span<const std::string> allowed) : where_(std::move(where)), allowed_(allowed) {}

  // `what`, which `field` stands for, must be the same, unless that may differ.
  template <class T>
  void require_same(std::string_view field, std::string_view what, const T& stored, const T& present) const {
    if (stored != present) differs(field, what, fmt::format("{}", stored), fmt::format("{}", present));
  }
  template <class T>
  void require_same(std::string_view field, const T& stored, const T& present) const {
    require_same(field, field, stored, present);
  }
  void require_same_multiplier(std::string_view what, double stored, double present) const {
    if (same_multiplier(stored, present)) return;
    differs(kMultipliers, what, fmt::format("{}", stored), fmt::format("{}", present));
  }

 private:
  void differs(std::string_view field, std::string_view what, const std::string& stored,
               const std::string& present) const {
    const std::string difference =
        fmt::format("{}: {} is {} in the checkpoint, {} here", where_, what, stored, present);
    const bool is_allowable = std::ranges::find(kAllowable, field) != kAllowable.end();
    if (!is_allowable) fail("{}", difference);
    require(std::ranges::find(allowed_, field) != allowed_.end(), "{}; with --allow {} the run goes on as another one",
            difference, field);
    LOG(WARNING) << difference << ", which --allow " << field << " allows";
  }

  std::string where_;
  std::span<const std::string> allowed_;
};

// The norm's eps in one form, whichever version wrote it.
ModelConfig with_o_norm_eps(ModelConfig model) {
  model.set_o_norm_eps(o_norm_eps(model));
  model.clear_query_scale();
  return model;
}

// A field's value as text; its default where it has none.
std::string value_of(const ModelConfig& model, const google::protobuf::FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *model.GetReflection();
  using google::protobuf::FieldDescriptor;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE: return fmt::format("{}", reflection.GetDouble(model, &field));
    case FieldDescriptor::CPPTYPE_BOOL: return fmt::format("{}", reflection.GetBool(model, &field));
    case FieldDescriptor::CPPTYPE_ENUM: return reflection.GetEnum(model, &field)->name();
    default: return fmt::format("{}", reflection.GetInt64(model, &field));
  }
}

void check_model_config(const Comparison& comparison, const ModelConfig& stored, const ModelConfig& present) {
  for (int i = 0; i < ModelConfig::descriptor()->field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *ModelConfig::descriptor()->field(i);
    if (field.number() == ModelConfig::kRecomputeFieldNumber) continue;
    comparison.require_same("model." + field.name(), value_of(stored, field), value_of(present, field));
  }
}

void check_config(const Comparison& comparison, const RunConfig& stored, const RunConfig& present) {
  check_model_config(comparison, with_o_norm_eps(stored.model()), with_o_norm_eps(present.model()));
  comparison.require_same("train.seed", stored.train().seed(), present.train().seed());
  comparison.require_same("train.global_batch", stored.train().global_batch(), present.train().global_batch());
  comparison.require_same("train.sequence_length", stored.train().sequence_length(), present.train().sequence_length());
  if (stored.data().has_tokenizer() && present.data().has_tokenizer()) {
    comparison.require_same("data.tokenizer", stored.data().tokenizer(), present.data().tokenizer());
  }
  comparison.require_same("data.shuffle", stored.data().shuffle(), present.data().shuffle());
  comparison.require_same("data.reset_at_documents", stored.data().reset_at_documents(),
                          present.data().reset_at_documents());
}

using DataShards = google::protobuf::RepeatedPtrField<CheckpointDataShard>;

DataShards describe_shards(const std::vector<DatasetInfo::ShardInfo>& shards) {
  DataShards described;
  for (const DatasetInfo::ShardInfo& shard : shards) {
    CheckpointDataShard& entry = *described.Add();
    entry.set_num_tokens(shard.num_tokens);
    entry.set_xxh64(shard.xxh64);
  }
  return described;
}

std::string to_string(const CheckpointDataShard& shard) {
  return fmt::format("{} tokens with checksum {}", shard.num_tokens(), shard.xxh64());
}

void check_shards(const Comparison& comparison, std::string_view split, const DataShards& stored,
                  const DataShards& present) {
  for (int i = 0; i < std::min(stored.size(), present.size()); ++i) {
    comparison.require_same(kDataSet, fmt::format("shard {} of the {} split of the data set", i, split),
                            to_string(stored[i]), to_string(present[i]));
  }
  comparison.require_same(kDataSet, fmt::format("the number of shards of the {} split of the data set", split),
                          stored.size(), present.size());
}

void check_data_set(const Comparison& comparison, const CheckpointManifest& manifest,
                    const CheckpointContext& context) {
  if (!manifest.has_data_set() || context.data_set == nullptr) return;
  check_shards(comparison, "train", manifest.data_set().train(), describe_shards(context.data_set->train));
  check_shards(comparison, "validation", manifest.data_set().validation(),
               describe_shards(context.data_set->validation));
}

void check_scaling(const Comparison& comparison, const CheckpointManifest& manifest, const CheckpointContext& context) {
  for (int i = 0; i < manifest.parameters_size(); ++i) {
    const CheckpointParameter& stored = manifest.parameters(i);
    const ParameterScaling& present = context.scaling[i];
    const auto check = [&](std::string_view kind, double stored_value, double present_value) {
      comparison.require_same_multiplier(fmt::format("the {} multiplier of {}", kind, stored.name()), stored_value,
                                         present_value);
    };
    check("init", stored.init_multiplier(), present.init);
    check("lr", stored.lr_multiplier(), present.lr);
    check("eps", stored.eps_multiplier(), present.eps);
    check("decay", stored.decay_multiplier(), present.decay);
    check("clip", stored.clip_multiplier(), present.clip);
  }
  const ForwardMultipliers &present = context.forward_multipliers, stored = forward_multipliers_of(manifest);
  comparison.require_same_multiplier("the logit multiplier", stored.logits, present.logits);
  comparison.require_same_multiplier("the residual multiplier", stored.residual, present.residual);
}

}  // namespace

CheckpointDataSet describe_data_set(const DatasetInfo& info) {
  CheckpointDataSet data_set;
  *data_set.mutable_train() = describe_shards(info.train);
  *data_set.mutable_validation() = describe_shards(info.validation);
  return data_set;
}

std::span<const std::string_view> allowable_fields() { return kAllowable; }

std::vector<ParameterSpec> specs_of(const ParameterStore& store) {
  std::vector<ParameterSpec> specs;
  for (const Parameter& parameter : store.parameters()) specs.push_back(parameter.spec);
  return specs;
}

void describe_model(const CheckpointContext& context, CheckpointManifest& manifest) {
  describe_parameters(context.config, specs_of(context.store), context.scaling, context.forward_multipliers, manifest);
  if (context.data_set != nullptr) *manifest.mutable_data_set() = describe_data_set(*context.data_set);
}

ForwardMultipliers forward_multipliers_of(const CheckpointManifest& manifest) {
  return {.logits = manifest.logit_multiplier(), .residual = manifest.residual_multiplier()};
}

void describe_parameters(const RunConfig& config, std::span<const ParameterSpec> specs,
                         std::span<const ParameterScaling> scaling, const ForwardMultipliers& forward_multipliers,
                         CheckpointManifest& manifest) {
  CHECK_EQ(scaling.size(), specs.size());
  *manifest.mutable_config() = config;
  manifest.set_optimizer(std::string(name_of(kind_of(config.optimizer()))));
  manifest.set_logit_multiplier(forward_multipliers.logits);
  if (forward_multipliers.residual != 1) manifest.set_residual_multiplier(forward_multipliers.residual);
  for (std::size_t i = 0; i < scaling.size(); ++i) {
    CheckpointParameter& parameter = *manifest.add_parameters();
    parameter.set_name(specs[i].name);
    parameter.set_role(std::string(mudelta::name_of(specs[i].role)));
    for (const std::int64_t size : specs[i].shape.sizes()) parameter.add_shape(size);
    parameter.set_init_multiplier(scaling[i].init);
    parameter.set_lr_multiplier(scaling[i].lr);
    parameter.set_eps_multiplier(scaling[i].eps);
    parameter.set_decay_multiplier(scaling[i].decay);
    parameter.set_clip_multiplier(scaling[i].clip);
  }
}

void check_parameters(const CheckpointReader& checkpoint, std::span<const ParameterSpec> present) {
  const std::string where = checkpoint.folder().string();
  const CheckpointManifest& manifest = checkpoint.manifest();
  const auto num_stored = static_cast<std::size_t>(manifest.parameters_size());
  for (std::size_t i = 0; i < std::min(num_stored, present.size()); ++i) {
    const CheckpointParameter& stored = manifest.parameters(static_cast<int>(i));
    require_same(where, fmt::format("the name of parameter {}", i), stored.name(), present[i].name);
    require_same(where, fmt::format("the shape of {}", stored.name()), shape_of(stored).to_string(),
                 present[i].shape.to_string());
  }
  require_same(where, "the number of parameters", num_stored, present.size());
}

void check_model(const CheckpointReader& checkpoint, const CheckpointContext& context) {
  CHECK_EQ(context.scaling.size(), context.store.parameters().size());
  const std::string where = checkpoint.folder().string();
  const Comparison comparison(where, context.allowed);
  const CheckpointManifest& manifest = checkpoint.manifest();
  check_config(comparison, manifest.config(), context.config);
  check_data_set(comparison, manifest, context);
  check_parameters(checkpoint, specs_of(context.store));
  require_same(where, "the optimizer", manifest.optimizer(), std::string(name_of(kind_of(context.config.optimizer()))));
  check_scaling(comparison, manifest, context);
}

}  // namespace mudelta
