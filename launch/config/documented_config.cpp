#include "launch/config/documented_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <glog/logging.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/text_format.h>

#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "launch/config/name_hints.h"

namespace mudelta {

// A FileDescriptorSet of launch/config/config.proto and what it imports, with comments; made by CMake.
extern const std::string_view kConfigDescriptor;

namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::SourceLocation;
using google::protobuf::TextFormat;

// The comments of the .proto files, which the generated descriptors do not have.
class Comments {
 public:
  Comments() {
    google::protobuf::FileDescriptorSet files;
    CHECK(files.ParseFromArray(kConfigDescriptor.data(), static_cast<int>(kConfigDescriptor.size())));
    for (const auto& file : files.file()) CHECK(pool_.BuildFile(file) != nullptr) << file.name();
  }

  // Lines above the field and behind it; of a message that has none, those of its type. With the values of an enum.
  std::vector<std::string> of(const FieldDescriptor& generated) const {
    const FieldDescriptor& field = *pool_.FindFieldByName(generated.full_name());
    std::vector<std::string> lines = lines_of(field);
    if (lines.empty() && field.message_type() != nullptr) lines = lines_of(*field.message_type());
    if (field.enum_type() != nullptr) add_values(*field.enum_type(), lines);
    return lines;
  }

 private:
  template <class T>
  static std::vector<std::string> lines_of(const T& descriptor) {
    std::vector<std::string> lines;
    SourceLocation location;
    if (!descriptor.GetSourceLocation(&location)) return lines;
    std::istringstream text(location.leading_comments + location.trailing_comments);
    for (std::string line; std::getline(text, line);) lines.push_back(line.substr(line.starts_with(' ') ? 1 : 0));
    return lines;
  }

  // "NAME, ALIAS: what it means"
  static void add_values(const EnumDescriptor& type, std::vector<std::string>& lines) {
    for (int i = 0; i < type.value_count(); ++i) {
      const EnumValueDescriptor& value = *type.value(i);
      if (type.FindValueByNumber(value.number()) != &value) continue;
      std::string names = value.name();
      for (int j = i + 1; j < type.value_count(); ++j) {
        if (type.value(j)->number() == value.number()) names += ", " + type.value(j)->name();
      }
      const std::vector<std::string> meaning = lines_of(value);
      lines.push_back(fmt::format("- {}{}{}", names, meaning.empty() ? "" : ": ", fmt::join(meaning, " ")));
    }
  }

  google::protobuf::DescriptorPool pool_;
};

class Printer {
 public:
  std::string take() { return std::move(text_); }

  void print_all(const Message& message, int indent) {
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      print(message, *message.GetDescriptor()->field(i), indent);
    }
  }

  void print(const Message& message, const FieldDescriptor& field, int indent) {
    const Reflection& reflection = *message.GetReflection();
    for (const std::string& line : comments_.of(field)) add(indent, "# " + line);
    if (field.is_repeated()) {
      const int size = reflection.FieldSize(message, &field);
      if (size == 0) add(indent, fmt::format("# {}: none", field.name()));
      for (int i = 0; i < size; ++i) print_entry(message, field, i, indent);
    } else if (!reflection.HasField(message, &field)) {
      add(indent, fmt::format("# {}: not set", field.name()));
    } else {
      print_entry(message, field, -1, indent);
    }
  }

 private:
  // `index`: in a list; else -1.
  void print_entry(const Message& message, const FieldDescriptor& field, int index, int indent) {
    if (field.message_type() == nullptr) {
      std::string value;
      TextFormat::PrintFieldValueToString(message, &field, index, &value);
      return add(indent, fmt::format("{}: {}", field.name(), value));
    }
    const Reflection& reflection = *message.GetReflection();
    add(indent, field.name() + " {");
    print_all(
        index >= 0 ? reflection.GetRepeatedMessage(message, &field, index) : reflection.GetMessage(message, &field),
        indent + 2);
    add(indent, "}");
  }

  void add(int indent, const std::string& line) { text_ += fmt::format("{:{}}{}\n", "", indent, line); }

  const Comments comments_;
  std::string text_;
};

}  // namespace

std::string documented_text(const RunConfig& config, const std::string& field) {
  Printer printer;
  if (field.empty()) {
    printer.print_all(config, 0);
    return printer.take();
  }
  const Message* message = &config;
  std::string path;  // of `message`
  std::istringstream names(field);
  for (std::string name; std::getline(names, name, '.');) {
    const FieldDescriptor* found = message->GetDescriptor()->FindFieldByName(name);
    require(found != nullptr, "--print-config {}: {}", field,
            unknown_field_message(*config.GetDescriptor(), *message->GetDescriptor(), path, name));
    if (names.eof()) {
      printer.print(*message, *found, 0);
      return printer.take();
    }
    path = path.empty() ? name : path + "." + name;
    require(found->message_type() != nullptr && !found->is_repeated(), "--print-config {}: `{}` has no fields", field,
            path);
    message = &message->GetReflection()->GetMessage(*message, found);
  }
  fail("--print-config {}: expected the name of a field after the last dot", field);
}

}  // namespace mudelta
