#include "launch/train/resume_notes.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include "launch/config/run_config.h"
#include "launch/train/scaling.h"

namespace mudelta {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string text_of(const Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::string text, entry;
  const auto append = [&](int index) {
    google::protobuf::TextFormat::PrintFieldValueToString(message, &field, index, &entry);
    text += text.empty() ? entry : ", " + entry;
  };
  if (!field.is_repeated()) {
    if (reflection.HasField(message, &field)) append(-1);
  } else {
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) append(i);
  }
  return text.empty() ? "none" : text;
}

void add_changes(const Message& before, const Message& now, const std::string& path, std::vector<std::string>& lines) {
  for (int i = 0; i < before.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *before.GetDescriptor()->field(i);
    const std::string name = path.empty() ? field.name() : path + "." + field.name();
    if (field.message_type() != nullptr && !field.is_repeated()) {
      add_changes(before.GetReflection()->GetMessage(before, &field), now.GetReflection()->GetMessage(now, &field),
                  name, lines);
      continue;
    }
    const std::string old_text = text_of(before, field), new_text = text_of(now, field);
    if (old_text != new_text) lines.push_back(fmt::format("{}: {} -> {}", name, old_text, new_text));
  }
}

std::string learning_rate_note(const RunConfig& before, const RunConfig& now, std::int64_t steps_done) {
  const double last = learning_rate_of(before, steps_done - 1), next = learning_rate_of(now, steps_done);
  std::string note =
      fmt::format("learning rate {:.4g} in step {}, {:.4g} in step {}", last, steps_done, next, steps_done + 1);
  if (steps_done >= before.train().steps()) {
    note += next > last ? "; it rises, after a run that had ended" : "; the run had ended";
  } else if (const double expected = learning_rate_of(before, steps_done); expected != next) {
    note += fmt::format("; it would have been {:.4g}", expected);
  }
  return note;
}

}  // namespace

std::vector<std::string> config_changes(const RunConfig& before, const RunConfig& now) {
  std::vector<std::string> lines;
  add_changes(with_defaults(before), with_defaults(now), "", lines);
  return lines;
}

std::vector<std::string> resume_notes(const RunConfig& before, const RunConfig& now, std::int64_t steps_done) {
  std::vector<std::string> notes;
  for (const std::string& change : config_changes(before, now)) notes.push_back("changed: " + change);
  if (notes.empty()) notes.push_back("the configuration is as before");
  if (steps_done < now.train().steps()) notes.push_back(learning_rate_note(before, now, steps_done));
  return notes;
}

}  // namespace mudelta
