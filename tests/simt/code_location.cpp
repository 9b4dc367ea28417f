#include "simt/code_location.h"

#include <fmt/format.h>
#include <link.h>
#include <stdio.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <string_view>
#include <vector>

namespace mudelta::simt {
namespace {

// What the dynamic linker added to the addresses in the program's file.
std::uintptr_t find_load_address() {
  std::uintptr_t address = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* found) {
        *static_cast<std::uintptr_t*>(found) = info->dlpi_addr;
        return 1;  // the program comes first
      },
      &address);
  return address;
}
std::uintptr_t load_address() {
  static const std::uintptr_t address = find_load_address();
  return address;
}

std::string_view until(std::string_view text, std::string_view ends) {
  return text.substr(0, text.find_first_of(ends));
}

std::string without_parameters(std::string function) {
  constexpr std::string_view kNoName = "(anonymous namespace)::";
  for (std::size_t at; (at = function.find(kNoName)) != std::string::npos;) function.erase(at, kNoName.size());
  return std::string(until(function, "(\n"));
}

// Pairs of lines, function and file:line, innermost inlined function first. Empty if addr2line cannot be run.
std::vector<std::string> symbolize(std::uint32_t offset) {
  std::array<char, PATH_MAX> program{};
  if (readlink("/proc/self/exe", program.data(), program.size() - 1) <= 0) return {};
  const std::string command = fmt::format("addr2line -C -f -i -s -e '{}' {:#x} 2>/dev/null", program.data(), offset);
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  std::vector<std::string> lines;
  std::array<char, 4096> line{};
  while (fgets(line.data(), line.size(), pipe) != nullptr) {
    const bool is_function = lines.size() % 2 == 0;
    lines.push_back(is_function ? without_parameters(line.data()) : std::string(until(line.data(), " \n")));
  }
  pclose(pipe);
  return lines;
}

}  // namespace

std::uint32_t code_offset(const void* code) {
  return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(code) - load_address());
}
const void* code_at(std::uint32_t offset) { return reinterpret_cast<const void*>(load_address() + offset); }

std::string function_at(const void* code) {
  const auto lines = symbolize(code_offset(code));
  if (lines.size() < 2 || lines[lines.size() - 2] == "??") return fmt::format("{}", code);
  return lines[lines.size() - 2];
}

std::string line_before(const void* code) {
  const auto lines = symbolize(code_offset(code) - 1);
  std::string text;
  for (std::size_t i = lines.size(); i >= 2; i -= 2) text += (text.empty() ? "" : ", in ") + lines[i - 1];
  return text.empty() ? fmt::format("{}", code) : text;
}

}  // namespace mudelta::simt
