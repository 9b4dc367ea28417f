#include "launch/config/config_text.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>
#include <strings.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "core/error.h"
#include "launch/config/name_hints.h"

namespace mudelta {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;
using google::protobuf::io::Tokenizer;

constexpr int kMaxCorrected = 1000;      // enum values of another case in a text, which is parsed again for each
constexpr int kMaxNesting = 64;          // of messages: the parser calls itself for each
constexpr std::size_t kMaxQuoted = 200;  // bytes of a text that a message quotes

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
  const std::string start = before + " \"";
  const std::size_t found = message.find(start);
  if (found == std::string::npos) return std::nullopt;
  const std::size_t begin = found + start.size();
  return message.substr(begin, message.find('"', begin) - begin);
}

// Bytes before a place in the text; the tokenizer's columns go on to the next multiple of 8 at a tab.
std::size_t offset_of(const std::string& text, Position position) {
  std::size_t offset = 0;
  for (int line = 0; line < position.line && offset < text.size(); ++offset) line += text[offset] == '\n' ? 1 : 0;
  for (int column = 0; column < position.column && offset < text.size(); ++offset) {
    column += text[offset] == '\t' ? 8 - column % 8 : 1;
  }
  return offset;
}

// The value called `name`, in any case; null if there is none.
const EnumValueDescriptor* find_value(const EnumDescriptor& type, const std::string& name) {
  for (int i = 0; i < type.value_count(); ++i) {
    if (strcasecmp(type.value(i)->name().c_str(), name.c_str()) == 0) return type.value(i);
  }
  return nullptr;
}

// Writes an enum value that the parser did not know as it is declared, if only its case was wrong.
bool correct_case(std::string& text, const Descriptor& root, const FirstError& error) {
  const auto value = quoted_after(*error.message, "Unknown enumeration value of");
  if (!value) return false;
  const Context context = find_context(text, root, error.position, *value);
  const FieldDescriptor* field = context.message->FindFieldByName(context.field);
  if (field == nullptr || field->enum_type() == nullptr) return false;
  const EnumValueDescriptor* known = find_value(*field->enum_type(), *value);
  const std::size_t offset = offset_of(text, context.word);
  if (known == nullptr || text.compare(offset, value->size(), *value) != 0) return false;
  text.replace(offset, value->size(), known->name());
  return true;
}

// Files that are no text at all, such as a checkpoint's.
void require_text(const std::string& text, std::string_view name) {
  const auto is_binary = [](char c) { return std::iscntrl(static_cast<unsigned char>(c)) != 0 && !std::isspace(c); };
  const auto found = std::ranges::find_if(text, is_binary);
  if (found == text.end()) return;
  fail(
      "{}: expected a configuration in protobuf text format, got a file that is no text: its "
      "byte {} is {:#04x}",
      name, found - text.begin(), static_cast<unsigned>(*found));
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
  if (message.starts_with("Interpreting non ascii codepoint")) {
    fail_at(name, error.position,
            "expected a field's name or its value, got a letter that only quotes and comments may hold");
  }
  fail_at(name, error.position, abbreviated(without_full_stop(message), kMaxQuoted));
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
  Message* message = &root;
  std::string parent_path;
  for (std::size_t begin = 0; !path.empty() && begin <= path.size();) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    const std::string name = path.substr(begin, end - begin), field_path = path.substr(0, end);
    const FieldDescriptor& field = find_field(root, *message, parent_path, name);
    require(field.message_type() != nullptr, "`{}` is a single value: it has no fields", field_path);
    require(!field.is_repeated(), "`{}` is a list: append an entry with '{}={{...}}'", field_path, field_path);
    message = message->GetReflection()->MutableMessage(message, &field);
    parent_path = field_path;
    begin = end + 1;
  }
  return *message;
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
  const EnumValueDescriptor* known = field.enum_type() != nullptr ? find_value(*field.enum_type(), value) : nullptr;
  FirstError error;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (parser.ParseFieldValueFromString(known != nullptr ? known->name() : value, &field, &parent)) return;
  if (field.enum_type() != nullptr) fail("{}", unknown_value_message(*field.enum_type(), path, value));
  fail("`{}` cannot be `{}`: expected {}", path, abbreviated(value, kMaxQuoted), expected_value(field));
}

// The items of "[64, 128]" or "64,128".
std::vector<std::string> items_of(std::string list) {
  if (list.starts_with('[') && list.ends_with(']')) list = list.substr(1, list.size() - 2);
  std::ranges::replace(list, ',', ' ');
  std::istringstream words(list);
  return {std::istream_iterator<std::string>(words), {}};
}

// `lists`: paths of those that have been set, which are added to.
void apply_override(const std::string& path, const std::string& value, Message& message, std::set<std::string>& lists) {
  const auto [parent_path, name] = split_last(path);
  Message& parent = message_at(message, parent_path);
  const FieldDescriptor& field = find_field(message, parent, parent_path, name);
  if (field.is_repeated() && lists.insert(path).second) parent.GetReflection()->ClearField(&parent, &field);
  if (field.message_type() != nullptr) {
    set_message(parent, field, path, value);
  } else if (field.is_repeated()) {
    for (const std::string& item : items_of(value)) set_value(parent, field, path, item);
  } else {
    set_value(parent, field, path, value);
  }
}

}  // namespace

void parse_text(const std::string& text, std::string_view name, Message& message) {
  require(text.size() < std::numeric_limits<int>::max(), "{} has {} bytes, too many for a text of fields", name,
          text.size());
  require_text(text, name);
  std::string spelt = text;  // with enum values as they are declared
  FirstError error;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.AllowPartialMessage(true);
  parser.SetRecursionLimit(kMaxNesting);
  for (int corrected = 0; !parser.ParseFromString(spelt, &message); ++corrected) {
    const bool is_mended = corrected < kMaxCorrected && correct_case(spelt, *message.GetDescriptor(), error);
    if (!is_mended) explain(spelt, name, *message.GetDescriptor(), error);
    error.message.reset();
  }
}

void parse_known_fields(const std::string& text, Message& message) {
  FirstError ignored;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&ignored);
  parser.AllowPartialMessage(true);
  parser.AllowUnknownField(true);
  parser.SetRecursionLimit(kMaxNesting);
  parser.ParseFromString(text, &message);
}

void apply_overrides(const std::vector<std::string>& assignments, Message& message) {
  std::set<std::string> lists;
  for (const std::string& assignment : assignments) {
    const std::size_t equals = assignment.find('=');
    require(equals != std::string::npos && equals > 0, "--set {}: expected FIELD=VALUE, as in model.width=512",
            assignment);
    try {
      apply_override(assignment.substr(0, equals), assignment.substr(equals + 1), message, lists);
    } catch (const Error& error) {
      fail("--set {}: {}", abbreviated(assignment, kMaxQuoted), error.what());
    }
  }
}

}  // namespace mudelta
