#include "launch/commands/text_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "launch/job/printable.h"

namespace mudelta {

void add_json_lines_options(CLI::App& command, TextOptions& options) {
  command.add_option("--field", options.field, "Of JSON lines: the field that holds a document's text")
      ->type_name("NAME")
      ->capture_default_str();
  command
      .add_option_function<std::string>(
          "--bad-lines", [&options](const std::string& choice) { options.skip_bad_lines = choice == "skip"; },
          "Of JSON lines: skip or fail. A line is bad if it is no JSON in UTF-8, no object, or has no text in the "
          "field; "
          "those skipped are counted, and the first of them shown")
      ->type_name("skip|fail")
      ->check(CLI::IsMember({"skip", "fail"}))
      ->default_str("skip");
}

void print_bad_lines(const BadLines& bad) {
  if (bad.count == 0) return;
  fmt::print("{} bad line{} skipped{}\n", bad.count, bad.count == 1 ? " was" : "s were",
             bad.count > std::ssize(bad.shown) ? "; the first:" : ":");
  for (const std::string& line : bad.shown) fmt::print("  {}\n", printable(line));
}

void ByteProgress::update(std::int64_t done) {
  constexpr double kMegabyte = 1e6;
  const auto bytes = static_cast<double>(done);
  progress_.update(done,
                   fmt::format("{:.1f} of {:.1f} MB  {:.1f} MB/s", bytes / kMegabyte,
                               static_cast<double>(num_bytes_) / kMegabyte, bytes / kMegabyte / stopwatch_.seconds()));
}

}  // namespace mudelta
