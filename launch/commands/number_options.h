#pragma once

#include <CLI/CLI.hpp>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

// Options whose values are numbers or lists. Values that are no plain decimal numbers, or out of range, are errors that
// say what was expected (CLI11 by itself takes 010 for 8, -1 for 2^64 - 1, and the nearest number for one too large).

namespace mudelta {

// A whole number from `least` to `most`, which does not pass for another one: 010 is 10.
CLI::Validator whole_number(std::uint64_t least, std::uint64_t most = std::numeric_limits<std::int64_t>::max());
// A finite number.
CLI::Validator finite_number();
// A finite number above 0.
CLI::Validator positive_number();

template <std::integral T>
CLI::Option* add_whole_number(CLI::App& command, const std::string& name, T& value, std::uint64_t least,
                              const std::string& help) {
  return command.add_option(name, value, help)
      ->transform(whole_number(least, static_cast<std::uint64_t>(std::numeric_limits<T>::max())))
      ->capture_default_str();
}

// A list of what `item` accepts: --widths 64,128. join_lists has the other ways to write one.
template <class T>
CLI::Option* add_list(CLI::App& command, const std::string& name, std::vector<T>& values, const CLI::Validator& item,
                      const std::string& help) {
  return command.add_option(name, values, help)
      ->delimiter(',')
      ->allow_extra_args(false)
      ->transform(item)
      ->capture_default_str();
}

// `arguments`, those after the program's name, with lists of items in arguments of their own (--widths 64 128) joined
// by commas. An argument that is no item of the list, such as a file's name, ends it.
std::vector<std::string> join_lists(CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace mudelta
