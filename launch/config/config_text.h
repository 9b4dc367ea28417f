#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>
#include <vector>

// Protobuf text format with errors that a user can act on. Fields that are `required` are not looked for here.

namespace mudelta {

// `message` = what `text` says. Throws Error "NAME:LINE:COLUMN: ..." at the first thing that does not fit: syntax, a
// field that the message does not have (with the name that was probably meant), a value of the wrong type, an enum
// value that does not exist (with those that do; they may be written in any case).
void parse_text(const std::string& text, std::string_view name, google::protobuf::Message& message);

// Of what `text` says, the fields that `message` has; others, and what follows an error, are left out without a word.
void parse_known_fields(const std::string& text, google::protobuf::Message& message);

// Sets fields, in the order given: an assignment is "a.b.c=value", the path naming fields from `message` down. Numbers,
// booleans and enum values are written as in text format, strings with or without quotes, messages as {...} (merged
// into what is there). A list becomes what is given for it: values separated by commas, with or without [], and those
// of later assignments to it behind them. Setting a member of a oneof, or a field in one, unsets the others. Throws
// Error quoting the assignment.
void apply_overrides(const std::vector<std::string>& assignments, google::protobuf::Message& message);

}  // namespace mudelta
