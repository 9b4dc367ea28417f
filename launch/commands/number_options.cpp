#include "launch/commands/number_options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>

namespace mudelta {
namespace {

// The whole of `text` as a number.
template <class T>
std::optional<T> parse(const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return value;
}

// "64,128" of a list that `item` checks.
bool is_list_of(const CLI::Validator& item, const std::string& text) {
  for (std::string part : CLI::detail::split(text, ',')) {
    if (part.empty() || !item(part).empty()) return false;
  }
  return true;
}

CLI::Option* list_option(CLI::App& command, const std::string& argument) {
  if (!argument.starts_with("--")) return nullptr;
  CLI::Option* option = command.get_option_no_throw(argument.substr(0, argument.find('=')));
  return option != nullptr && option->get_delimiter() == ',' ? option : nullptr;
}

}  // namespace

CLI::Validator whole_number(std::uint64_t least, std::uint64_t most) {
  const auto check = [least, most](std::string& text) -> std::string {
    if (const auto number = parse<std::uint64_t>(text)) {
      if (*number < least) return fmt::format("got {}, expected at least {}", text, least);
      if (*number > most) return fmt::format("got {}, expected at most {}", text, most);
      text = std::to_string(*number);
      return {};
    }
    const bool is_large = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    if (is_large) return fmt::format("got {}, expected at most {}", text, most);
    return fmt::format("got {}, expected a whole number, at least {}", text, least);
  };
  return CLI::Validator(check, fmt::format("at least {}", least));
}

CLI::Validator finite_number() {
  const auto check = [](std::string& text) -> std::string {
    const auto number = parse<double>(text);
    return number && std::isfinite(*number) ? "" : fmt::format("got {}, expected a finite number", text);
  };
  return CLI::Validator(check, "");
}

CLI::Validator positive_number() {
  const auto check = [](std::string& text) -> std::string {
    const auto number = parse<double>(text);
    return number && std::isfinite(*number) && *number > 0
               ? ""
               : fmt::format("got {}, expected a finite number above 0", text);
  };
  return CLI::Validator(check, "above 0");
}

std::vector<std::string> join_lists(CLI::App& app, const std::vector<std::string>& arguments) {
  const auto commands = app.get_subcommands(
      [&](const CLI::App* command) { return !arguments.empty() && command->get_name() == arguments.front(); });
  if (commands.empty()) return arguments;
  std::vector<std::string> joined;
  CLI::Option* list = nullptr;  // whose items may follow
  bool has_items = false;
  for (const std::string& argument : arguments) {
    if (list == nullptr || !is_list_of(*list->get_validator(0), argument)) {
      list = list_option(*commands.front(), argument);
      has_items = argument.find('=') != std::string::npos;
      joined.push_back(argument);
    } else if (has_items) {
      joined.back() += "," + argument;
    } else {
      has_items = true;
      joined.push_back(argument);
    }
  }
  return joined;
}

}  // namespace mudelta
