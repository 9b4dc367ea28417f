#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <string_view>
#include <vector>

// Help for misspelt names: what stood in the place of a name, and what the user may have meant.

namespace mudelta {

// The first `most` bytes of a longer text, and dots.
std::string abbreviated(std::string_view text, std::size_t most);

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment).
int edit_distance(std::string_view a, std::string_view b);

// The candidate nearest to `name`, or "" if none is near enough to be what was meant.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

// "`model` has no field `widht`; did you mean `width`?". `path`: of the message within `root`, "" for `root`. A name
// that belongs to another message of `root` is pointed out; else all names are listed.
std::string unknown_field_message(const google::protobuf::Descriptor& root, const google::protobuf::Descriptor& message,
                                  std::string_view path, std::string_view name);

// "`train.compute_dtype` cannot be `FLOAT`: expected one of FLOAT32, BFLOAT16".
std::string unknown_value_message(const google::protobuf::EnumDescriptor& type, std::string_view path,
                                  std::string_view value);

}  // namespace mudelta
