#include "launch/checkpoint/checkpoint_model.h"

#include <glog/logging.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
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

// The checks below read "WHERE: WHAT is A in the checkpoint, B here".
template <class T>
void require_same(const std::string& where, std::string_view what, const T& stored, const T& present) {
  require(stored == present, "{}: {} is {} in the checkpoint, {} here", where, what, stored, present);
}

void require_same_multiplier(const std::string& where, std::string_view what, double stored, double present) {
  require(same_multiplier(stored, present), "{}: {} is {} in the checkpoint, {} here", where, what, stored, present);
}

// The norm's eps in one form, whichever version wrote it.
ModelConfig with_o_norm_eps(ModelConfig model) {
  model.set_o_norm_eps(o_norm_eps(model));
  model.clear_query_scale();
  return model;
}

void check_config(const std::string& where, const RunConfig& stored, const RunConfig& present) {
  using google::protobuf::util::MessageDifferencer;
  MessageDifferencer differencer;
  differencer.set_message_field_comparison(MessageDifferencer::EQUIVALENT);
  differencer.IgnoreField(ModelConfig::descriptor()->FindFieldByNumber(ModelConfig::kRecomputeFieldNumber));
  differencer.set_report_ignores(false);
  std::string differences;
  differencer.ReportDifferencesToString(&differences);
  const bool is_same = differencer.Compare(with_o_norm_eps(stored.model()), with_o_norm_eps(present.model()));
  std::ranges::replace(differences, '\n', ';');
  require(is_same, "{}: another model than here (checkpoint -> here): {}", where, differences);

  require_same(where, "train.seed", stored.train().seed(), present.train().seed());
  require_same(where, "train.global_batch", stored.train().global_batch(), present.train().global_batch());
  require_same(where, "train.sequence_length", stored.train().sequence_length(), present.train().sequence_length());
  if (stored.data().has_tokenizer() && present.data().has_tokenizer()) {
    require_same(where, "data.tokenizer", stored.data().tokenizer(), present.data().tokenizer());
  }
  require_same(where, "data.shuffle", stored.data().shuffle(), present.data().shuffle());
  require_same(where, "data.reset_at_documents", stored.data().reset_at_documents(),
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

void check_shards(const std::string& where, std::string_view split, const DataShards& stored,
                  const DataShards& present) {
  for (int i = 0; i < std::min(stored.size(), present.size()); ++i) {
    require_same(where, fmt::format("shard {} of the {} split of the data set", i, split), to_string(stored[i]),
                 to_string(present[i]));
  }
  require_same(where, fmt::format("the number of shards of the {} split of the data set", split), stored.size(),
               present.size());
}

void check_data_set(const std::string& where, const CheckpointManifest& manifest, const CheckpointContext& context) {
  if (!manifest.has_data_set() || context.data_set == nullptr) return;
  check_shards(where, "train", manifest.data_set().train(), describe_shards(context.data_set->train));
  check_shards(where, "validation", manifest.data_set().validation(), describe_shards(context.data_set->validation));
}

void check_scaling(const std::string& where, const CheckpointManifest& manifest, const CheckpointContext& context) {
  for (int i = 0; i < manifest.parameters_size(); ++i) {
    const CheckpointParameter& stored = manifest.parameters(i);
    const ParameterScaling& present = context.scaling[i];
    const auto check = [&](std::string_view kind, double stored_value, double present_value) {
      require_same_multiplier(where, fmt::format("the {} multiplier of {}", kind, stored.name()), stored_value,
                              present_value);
    };
    check("init", stored.init_multiplier(), present.init);
    check("lr", stored.lr_multiplier(), present.lr);
    check("eps", stored.eps_multiplier(), present.eps);
    check("decay", stored.decay_multiplier(), present.decay);
    check("clip", stored.clip_multiplier(), present.clip);
  }
  const ForwardMultipliers &present = context.forward_multipliers, stored = forward_multipliers_of(manifest);
  require_same_multiplier(where, "the logit multiplier", stored.logits, present.logits);
  require_same_multiplier(where, "the residual multiplier", stored.residual, present.residual);
}

}  // namespace

CheckpointDataSet describe_data_set(const DatasetInfo& info) {
  CheckpointDataSet data_set;
  *data_set.mutable_train() = describe_shards(info.train);
  *data_set.mutable_validation() = describe_shards(info.validation);
  return data_set;
}

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
  const CheckpointManifest& manifest = checkpoint.manifest();
  check_config(where, manifest.config(), context.config);
  check_data_set(where, manifest, context);
  check_parameters(checkpoint, specs_of(context.store));
  require_same(where, "the optimizer", manifest.optimizer(), std::string(name_of(kind_of(context.config.optimizer()))));
  check_scaling(where, manifest, context);
}

}  // namespace mudelta
