#include "launch/config_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <memory>
#include <optional>
#include <regex>
#include <utility>
#include <vector>

#include "core/error.h"
#include "launch/name_hints.h"

namespace mudelta {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;
using google::protobuf::io::Tokenizer;

// A place in a text, both numbers from 0; line -1 where the parser knows none.
struct Position {
  int line = -1;
  int column = 0;

  friend auto operator<=>(const Position&, const Position&) = default;
};

struct FirstError : google::protobuf::io::ErrorCollector {
  std::optional<std::string> message;
  Position position;

  void AddError(int line, int column, const std::string& text) override {
    if (!message) message = text, position = {line, column};
  }
};

std::string join_path(const std::string& path, const std::string& name) {
  return path.empty() ? name : path + "." + name;
}

// What surrounds an error: the message that was being read, the last field named in it, and where `word` last stood.
struct Context {
  const Descriptor* message;
  std::string path;   // of the message
  std::string field;  // last name before a colon or a brace
  Position word;
};

// Reads tokens up to `end`, following braces. The text before an error is known to be well formed.
Context find_context(const std::string& text, const Descriptor& root, Position end, std::string_view word) {
  struct : google::protobuf::io::ErrorCollector {
    void AddError(int, int, const std::string&) override {}
  } ignore;
  google::protobuf::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  Tokenizer tokens(&stream, &ignore);
  tokens.set_comment_style(Tokenizer::SH_COMMENT_STYLE);

  std::vector<Context> open{{&root, "", "", end}};
  Position last_word = end;
  while (tokens.Next() && Position{tokens.current().line, tokens.current().column} < end) {
    const Tokenizer::Token& token = tokens.current();
    Context& innermost = open.back();
    if (token.text == word) last_word = {token.line, token.column};
    if (token.text == "{" || token.text == "<") {
      const FieldDescriptor* field = innermost.message->FindFieldByName(innermost.field);
      if (field == nullptr || field->message_type() == nullptr) break;
      open.push_back({field->message_type(), join_path(innermost.path, innermost.field), "", end});
    } else if ((token.text == "}" || token.text == ">") && open.size() > 1) {
      open.pop_back();
    } else if (token.type == Tokenizer::TYPE_IDENTIFIER && innermost.message->FindFieldByName(token.text) != nullptr) {
      innermost.field = token.text;
    }
  }
  open.back().word = last_word;
  return open.back();
}

// `word`: the name or value between the first quotes that follow `before` in a parser's message.
std::optional<std::string> quoted_after(const std::string& message, const std::string& before) {
  std::smatch match;
  if (!std::regex_search(message, match, std::regex(before + " \"([^\"]*)\""))) return std::nullopt;
  return match[1].str();
}

std::string without_full_stop(std::string text) {
  if (text.ends_with('.')) text.pop_back();
  return text;
}

[[noreturn]] void fail_at(std::string_view name, Position position, const std::string& message) {
  if (position.line < 0) fail("{}: {}", name, message);
  fail("{}:{}:{}: {}", name, position.line + 1, position.column + 1, message);
}

[[noreturn]] void explain(const std::string& text, std::string_view name, const Descriptor& root,
                          const FirstError& error) {
  const std::string& message = *error.message;
  // The parser reports these two at the token after the one that is wrong.
  if (const auto field = quoted_after(message, "has no field named")) {
    const Context context = find_context(text, root, error.position, *field);
    fail_at(name, context.word, unknown_field_message(root, *context.message, context.path, *field));
  }
  if (const auto value = quoted_after(message, "Unknown enumeration value of")) {
    const Context context = find_context(text, root, error.position, *value);
    const FieldDescriptor* field = context.message->FindFieldByName(context.field);
    if (field != nullptr && field->enum_type() != nullptr) {
      fail_at(name, context.word,
              unknown_value_message(*field->enum_type(), join_path(context.path, context.field), *value));
    }
  }
  fail_at(name, error.position, without_full_stop(message));
}

// "a.b" of "a.b.c", and "c".
std::pair<std::string, std::string> split_last(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  if (dot == std::string::npos) return {"", path};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

const FieldDescriptor& find_field(const Message& root, const Message& message, const std::string& path,
                                  const std::string& name) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  require(field != nullptr, "{}", unknown_field_message(*root.GetDescriptor(), *message.GetDescriptor(), path, name));
  return *field;
}

// The message at `path`, made where it is not there yet.
Message& message_at(Message& root, const std::string& path) {
  if (path.empty()) return root;
  const auto [parent_path, name] = split_last(path);
  Message& parent = message_at(root, parent_path);
  const FieldDescriptor& field = find_field(root, parent, parent_path, name);
  require(field.message_type() != nullptr, "`{}` is a single value: it has no fields", path);
  require(!field.is_repeated(), "`{}` is a list: append an entry with '{}={{...}}'", path, path);
  return *parent.GetReflection()->MutableMessage(&parent, &field);
}

std::string_view expected_value(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64: return "a whole number";
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64: return "a whole number, not negative";
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE: return "a number";
    case FieldDescriptor::CPPTYPE_BOOL: return "true or false";
    default: return "text";
  }
}

void set_message(Message& parent, const FieldDescriptor& field, const std::string& path, std::string value) {
  require(value.starts_with('{') && value.ends_with('}'), "`{}` holds fields: expected {}={{...}}, or {}.FIELD=VALUE",
          path, path, path);
  value.front() = value.back() = ' ';
  const google::protobuf::Reflection& reflection = *parent.GetReflection();
  Message& message =
      field.is_repeated() ? *reflection.AddMessage(&parent, &field) : *reflection.MutableMessage(&parent, &field);
  const std::unique_ptr<Message> content(message.New());
  parse_text(value, path, *content);
  message.MergeFrom(*content);
}

void set_value(Message& parent, const FieldDescriptor& field, const std::string& path, const std::string& value) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && !value.starts_with('"')) {
    parent.GetReflection()->SetString(&parent, &field, value);
    return;
  }
  FirstError error;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (parser.ParseFieldValueFromString(value, &field, &parent)) return;
  if (field.enum_type() != nullptr) fail("{}", unknown_value_message(*field.enum_type(), path, value));
  fail("`{}` cannot be `{}`: expected {}", path, value, expected_value(field));
}

}  // namespace

void parse_text(const std::string& text, std::string_view name, Message& message) {
  FirstError error;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.AllowPartialMessage(true);
  if (!parser.ParseFromString(text, &message)) explain(text, name, *message.GetDescriptor(), error);
}

void apply_override(std::string_view assignment, Message& message) {
  const std::size_t equals = assignment.find('=');
  require(equals != std::string_view::npos && equals > 0, "--set {}: expected FIELD=VALUE, as in model.width=512",
          assignment);
  const std::string path(assignment.substr(0, equals));
  const std::string value(assignment.substr(equals + 1));
  try {
    const auto [parent_path, name] = split_last(path);
    Message& parent = message_at(message, parent_path);
    const FieldDescriptor& field = find_field(message, parent, parent_path, name);
    if (field.message_type() != nullptr) {
      set_message(parent, field, path, value);
    } else {
      set_value(parent, field, path, value);
    }
  } catch (const Error& error) {
    fail("--set {}: {}", assignment, error.what());
  }
}

}  // namespace mudelta
