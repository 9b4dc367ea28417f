#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

// Protobuf text format with errors that a user can act on. Fields that are `required` are not looked for here.

namespace mudelta {

// `message` = what `text` says. Throws Error "NAME:LINE:COLUMN: ..." at the first thing that does not fit: syntax, a
// field that the message does not have (with the name that was probably meant), a value of the wrong type, an enum
// value that does not exist (with those that do).
void parse_text(const std::string& text, std::string_view name, google::protobuf::Message& message);

// Sets one field: `assignment` is "a.b.c=value", the path naming fields from `message` down. Numbers, booleans and enum
// values are written as in text format, strings with or without quotes, messages as {...} (merged into what is there);
// on a repeated field the value is appended. Setting a member of a oneof, or a field in one, unsets the others.
// Throws Error quoting the assignment.
void apply_override(std::string_view assignment, google::protobuf::Message& message);

}  // namespace mudelta
