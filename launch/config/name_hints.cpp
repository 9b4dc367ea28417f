#include "launch/config/name_hints.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace mudelta {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr std::size_t kMaxName = 100;  // characters of it in a message

std::vector<std::string> field_names(const Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(message.field(i)->name());
  return names;
}

// Paths, below `path`, of the fields called `name`.
void find_fields(const Descriptor& message, const std::string& path, std::string_view name,
                 std::vector<std::string>& found) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const std::string field_path = path.empty() ? field.name() : path + "." + field.name();
    if (field.name() == name) found.push_back(field_path);
    if (field.message_type() != nullptr) find_fields(*field.message_type(), field_path, name, found);
  }
}

}  // namespace

std::string abbreviated(std::string_view text, std::size_t most) {
  return text.size() <= most ? std::string(text) : std::string(text.substr(0, most)) + "...";
}

int edit_distance(std::string_view a, std::string_view b) {
  // distance[i][j]: between the first i characters of `a` and the first j of `b`.
  std::vector<std::vector<int>> distance(a.size() + 1, std::vector<int>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        distance[i][j] = static_cast<int>(i + j);
        continue;
      }
      const int replaced = distance[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      distance[i][j] = std::min({replaced, distance[i - 1][j] + 1, distance[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
      }
    }
  }
  return distance[a.size()][b.size()];
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  std::string nearest;
  int smallest = std::max(1, static_cast<int>(name.size() * 2 / 5)) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t difference = std::max(name.size(), candidate.size()) - std::min(name.size(), candidate.size());
    if (difference >= static_cast<std::size_t>(smallest)) continue;  // it takes as many insertions at least
    const int distance = edit_distance(name, candidate);
    if (distance < smallest) smallest = distance, nearest = candidate;
  }
  return nearest;
}

std::string unknown_field_message(const Descriptor& root, const Descriptor& message, std::string_view path,
                                  std::string_view name) {
  const std::string where = path.empty() ? message.name() : fmt::format("`{}`", path);
  const std::string problem = fmt::format("{} has no field `{}`", where, abbreviated(name, kMaxName));
  const std::vector<std::string> names = field_names(message);
  if (const std::string nearest = nearest_name(name, names); !nearest.empty()) {
    return fmt::format("{}; did you mean `{}`?", problem, nearest);
  }
  std::vector<std::string> elsewhere;
  find_fields(root, "", name, elsewhere);
  if (!elsewhere.empty()) return fmt::format("{}; did you mean `{}`?", problem, fmt::join(elsewhere, "` or `"));
  return fmt::format("{}; its fields are {}", problem, fmt::join(names, ", "));
}

std::string unknown_value_message(const google::protobuf::EnumDescriptor& type, std::string_view path,
                                  std::string_view value) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) names.push_back(type.value(i)->name());
  return fmt::format("`{}` cannot be `{}`: expected one of {}", path, abbreviated(value, kMaxName),
                     fmt::join(names, ", "));
}

}  // namespace mudelta
