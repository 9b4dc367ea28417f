#include "launch/config/run_config.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "launch/config/config_text.h"
#include "launch/config/presets.h"
#include "optim/optimizer_kind.h"
#include "optim/schedule.h"

namespace mudelta {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Sets an unset field that has a default to it.
void set_default(Message& message, const FieldDescriptor& field) {
  if (!field.has_default_value()) return;
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: reflection.SetInt32(&message, &field, field.default_value_int32()); break;
    case FieldDescriptor::CPPTYPE_INT64: reflection.SetInt64(&message, &field, field.default_value_int64()); break;
    case FieldDescriptor::CPPTYPE_UINT32: reflection.SetUInt32(&message, &field, field.default_value_uint32()); break;
    case FieldDescriptor::CPPTYPE_UINT64: reflection.SetUInt64(&message, &field, field.default_value_uint64()); break;
    case FieldDescriptor::CPPTYPE_FLOAT: reflection.SetFloat(&message, &field, field.default_value_float()); break;
    case FieldDescriptor::CPPTYPE_DOUBLE: reflection.SetDouble(&message, &field, field.default_value_double()); break;
    case FieldDescriptor::CPPTYPE_BOOL: reflection.SetBool(&message, &field, field.default_value_bool()); break;
    case FieldDescriptor::CPPTYPE_ENUM: reflection.SetEnum(&message, &field, field.default_value_enum()); break;
    case FieldDescriptor::CPPTYPE_STRING: reflection.SetString(&message, &field, field.default_value_string()); break;
    case FieldDescriptor::CPPTYPE_MESSAGE: break;
  }
}

void fill_defaults(Message& message) {
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    if (field.is_repeated()) {
      if (field.message_type() == nullptr) continue;
      for (int entry = 0; entry < reflection.FieldSize(message, &field); ++entry) {
        fill_defaults(*reflection.MutableRepeatedMessage(&message, &field, entry));
      }
      continue;
    }
    const bool is_set = reflection.HasField(message, &field);
    // An unset member of a oneof would unset the one that is chosen.
    if (!is_set && field.containing_oneof() != nullptr) continue;
    if (field.message_type() != nullptr) {
      fill_defaults(*reflection.MutableMessage(&message, &field));
    } else if (!is_set) {
      set_default(message, field);
    }
  }
}

}  // namespace

RunConfig load_run_config(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  const std::filesystem::path file = find_config(path);
  RunConfig config;
  parse_text(read_file(file), file.string(), config);
  apply_overrides(overrides, config);
  require(config.IsInitialized(), "{}: not given: {}", file.string(), config.InitializationErrorString());
  return config;
}

RunConfig with_defaults(RunConfig config) {
  // What stands in for a choice that was left open (optim/config.proto).
  choose(*config.mutable_optimizer(), kind_of(config.optimizer()));
  if (config.schedule().final_case() == ScheduleConfig::FINAL_NOT_SET) {
    config.mutable_schedule()->set_final_ratio(kDefaultFinalRatio);
  }
  fill_defaults(config);
  OptimizerConfig& optimizer = *config.mutable_optimizer();
  if (optimizer.has_lr_decay_width()) optimizer.clear_weight_decay_rule();  // retired, and without a part in it
  return config;
}

std::string resolved_text(const RunConfig& config) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(with_defaults(config), &text);
  return text;
}

}  // namespace mudelta
