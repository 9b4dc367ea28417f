#pragma once

#include <cstdint>
#include <string>

#include "data/text/text_inputs.h"
#include "launch/job/progress.h"
#include "launch/job/stopwatch.h"

namespace CLI {
class App;
}

namespace mudelta {

// --field and --bad-lines.
void add_json_lines_options(CLI::App& command, TextOptions& options);

// How many lines were skipped, and the first of them; nothing if none were.
void print_bad_lines(const BadLines& bad);

// Progress through a number of bytes, with the rate.
class ByteProgress {
 public:
  ByteProgress(std::string title, std::int64_t num_bytes)
      : progress_(stdout, std::move(title), num_bytes), num_bytes_(num_bytes) {}

  void update(std::int64_t done);
  void finish() { progress_.finish(); }

 private:
  Progress progress_;
  std::int64_t num_bytes_;
  Stopwatch stopwatch_;
};

}  // namespace mudelta
