// What a resume does about each field of a configuration that has changed. A new field must be put into one of the
// lists here, and into the table of docs/checkpoints.md ("Fit").

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/config/run_config.h"
#include "launch/train/resume_notes.h"
#include "tests/launch/checkpoint/checkpoint_run.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Refused, both values named.
const std::set<std::string> kRefused = {
    "model.width",         "model.layers",           "model.heads",
    "model.value_heads",   "model.head_dim",         "model.expand_v",
    "model.conv_size",     "model.mlp_ratio",        "model.mlp_size",
    "model.vocab_size",    "model.tie_embeddings",   "model.norm_eps",
    "model.o_norm_eps",    "model.allow_neg_eigval", "model.init_std",
    "model.conv_init_std", "data.tokenizer",         "data.reset_at_documents",
    "data.shuffle",        "train.global_batch",     "train.sequence_length",
    "train.seed",
};

// Said, both values named.
const std::set<std::string> kSaid = {
    "model.recompute",
    "model.query_scale",  // retired; counts only without o_norm_eps
    "data.path",          // what it holds is compared
    "data.sources",       // likewise, of those that stay
    "data.verify",
    "train.steps",  // fewer than are done: refused
    "train.micro_batch",
    "train.compute_dtype",
    "train.eval_every",
    "train.eval_sequences",
    "train.grad_clip",
    "train.log_every",
    "train.norms_every",
    "train.device",
    "train.on_bad_step",
    "train.spike_threshold",
    "train.spike_window",
    "train.max_skipped_steps",
    "train.max_rollbacks",
    "train.check_replicas_every",
    "train.rank_times_every",
    "train.cuda_graph",
    "optimizer.adamw.lr",
    "optimizer.adamw.beta1",
    "optimizer.adamw.beta2",
    "optimizer.adamw.eps",
    "optimizer.adamw.weight_decay",
    "optimizer.sgd.lr",
    "optimizer.sgd.momentum",
    "optimizer.sgd.nesterov",
    "optimizer.sgd.weight_decay",
    "schedule.kind",
    "schedule.warmup_steps",
    "schedule.decay_steps",
    "schedule.final_ratio",
    "schedule.final_lr",
    "parallel.tensor",
    "parallel.context",
    "parallel.zero_stage",
    "parallel.sequence_parallel",
    "parallel.gpu_transport",
    "parallel.bucket_mib",
    "parallel.timeout_seconds",
    "parallel.check_collectives",
    "checkpoint.every_steps",
    "checkpoint.every_minutes",
    "checkpoint.keep",
    "checkpoint.keep_every",
    "checkpoint.asynchronous",
    "checkpoint.on_save_failure",
};

// Said; refused where a multiplier of a parameter changes with it, which checkpoints hold.
const std::set<std::string> kComparedAsMultipliers = {
    "optimizer.lr_decay_width",
    "optimizer.weight_decay_rule",  // retired; counts only without lr_decay_width
    "optimizer.eps_rule",
    "optimizer.clip_rule",
    "parametrization.kind",
    "parametrization.base_width",
    "parametrization.base_heads",
    "parametrization.base_value_heads",
    "parametrization.base_head_dim",
    "parametrization.base_mlp_size",
    "parametrization.scaling",
    "parametrization.base_layers",
    "parametrization.depth_exponent",
};

// Gives the field another value than it has.
void change(Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.full_name() == "mudelta.DataConfig.sources") {
    DataSource entry;
    entry.set_path("another");
    reflection.AddMessage(&message, &field)->CopyFrom(entry);
    return;
  }
  if (field.is_repeated()) {
    ASSERT_EQ(field.full_name(), "mudelta.ParametrizationConfig.scaling") << "give it an entry here";
    ScalingOverride entry;
    entry.set_role(ScalingOverride::CONV);
    reflection.AddMessage(&message, &field)->CopyFrom(entry);
    return;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(&message, &field, reflection.GetInt32(message, &field) + 1);
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.SetInt64(&message, &field, reflection.GetInt64(message, &field) + 1);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.SetUInt64(&message, &field, reflection.GetUInt64(message, &field) + 1);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(&message, &field, reflection.GetDouble(message, &field) + 0.25);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(&message, &field, !reflection.GetBool(message, &field));
    case FieldDescriptor::CPPTYPE_STRING: return reflection.SetString(&message, &field, "another");
    case FieldDescriptor::CPPTYPE_ENUM: {
      const int value = reflection.GetEnumValue(message, &field);
      return reflection.SetEnumValue(&message, &field, value == 0 ? 1 : 0);
    }
    default: FAIL() << field.full_name() << " is of a type that nothing here changes";
  }
}

// visit(path, message, field) for each field below `message` that is no message of its own.
template <class Visit>
void for_each_field(Message& message, const std::string& path, const Visit& visit) {
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const std::string name = path + field.name();
    if (field.message_type() == nullptr || field.is_repeated()) {
      visit(name, message, field);
    } else if (field.containing_oneof() == nullptr || message.GetReflection()->HasField(message, &field)) {
      for_each_field(*message.GetReflection()->MutableMessage(&message, &field), name + ".", visit);
    }
  }
}

TEST(ResumeFields, EachIsRefusedOrSaid) {
  std::set<std::string> seen;
  for (const OptimizerKind kind : optimizer_kinds()) {
    const TemporaryFolder folder;
    CheckpointRun before({.optimizer = kind});
    before.config.mutable_data()->set_path("data");
    before.config.mutable_data()->set_tokenizer("gpt2");
    before.config.mutable_model()->set_o_norm_eps(4e-3);
    before.config = with_defaults(before.config);
    before.save(folder.path(), 1);
    std::vector<std::string> fields;
    RunConfig all = before.config;
    for_each_field(all, "", [&](const std::string& path, Message&, const FieldDescriptor&) { fields.push_back(path); });
    for (const std::string& path : fields) {
      seen.insert(path);
      CheckpointRun now({.optimizer = kind});
      now.config = before.config;
      for_each_field(now.config, "", [&](const std::string& name, Message& message, const FieldDescriptor& field) {
        if (name == path) change(message, field);
      });
      const std::string error = error_of([&] { now.load(checkpoint_path(folder.path(), 1)); });
      const bool is_refused = error != "no error was thrown";
      EXPECT_THAT(config_changes(before.config, now.config), Contains(StartsWith(path + ": ")));
      EXPECT_EQ(kRefused.count(path) + kSaid.count(path) + kComparedAsMultipliers.count(path), 1u)
          << path << " must be in one of the lists";
      EXPECT_EQ(kRefused.contains(path), is_refused) << path << ": " << error;
    }
  }
  for (const auto* list : {&kRefused, &kSaid, &kComparedAsMultipliers}) {
    for (const std::string& path : *list) EXPECT_TRUE(seen.contains(path)) << path << " is no field";
  }
}

TEST(ResumeFields, WhatIsAllowedIsNotRefused) {
  const TemporaryFolder folder;
  CheckpointRun before;
  before.config.mutable_model()->set_o_norm_eps(4e-3);
  before.save(folder.path(), 1);
  std::set<std::string> allowable;
  for (const std::string_view name : allowable_fields()) {
    const std::string field(name);
    allowable.insert(field);
    CheckpointRun now;
    now.config = before.config;
    if (field == "data.path") now.data_set.train[1].num_tokens = 51;
    if (field == "parametrization") now.scaling[2].lr *= 2;
    for_each_field(now.config, "", [&](const std::string& path, Message& message, const FieldDescriptor& descriptor) {
      if (path == field) change(message, descriptor);
    });
    const auto load = [&](const std::vector<std::string>& allowed) {
      CheckpointContext context = now.context();
      context.allowed = allowed;
      return error_of([&] {
        load_checkpoint(CheckpointReader(checkpoint_path(folder.path(), 1)), context, now.optimizer, now.group,
                        Stream());
      });
    };
    const std::string other = field == "train.seed" ? "train.global_batch" : "train.seed";
    EXPECT_THAT(load({other}), HasSubstr(" here; with --allow " + field + " the run goes on as another one"));
    EXPECT_EQ(load({other, field}), "no error was thrown") << field;
    EXPECT_TRUE(now.holds(1));
  }
  // Others change what parameters there are, or what a token is.
  for (const std::string& field : kRefused) {
    EXPECT_TRUE(allowable.contains(field) || field == "data.tokenizer" || field.starts_with("model.")) << field;
  }
}

}  // namespace
}  // namespace mudelta::testing
