#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

namespace mudelta {

struct ProgressOptions {
  int columns = 0;                       // of the terminal; 0: `out` is no terminal
  std::function<int()> measure_columns;  // what they are now, asked before each drawing; empty: they stay
  double seconds_between_redraws = 0.1;
  // Without a terminal a line is due when either has passed since the last.
  double seconds_between_lines = 10;
  double fraction_between_lines = 0.1;
  std::function<double()> clock;  // seconds from any start; empty: the system's monotonic clock
};

// Shows how far a long task is: on a terminal one live line (bar, share done, text, time left), elsewhere plain lines
// now and then. What cannot be written is lost without an error: the task matters more. For one rank and one thread.
class Progress {
 public:
  // On `out`, as suits where it goes.
  Progress(std::FILE* out, std::string title, std::int64_t total, std::int64_t done = 0);
  // `done`: of `total`, what was done before this process began (the time left is judged by what it does itself).
  Progress(std::FILE* out, std::string title, std::int64_t total, std::int64_t done, ProgressOptions options);
  // Ends a live line that was not finished.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Cheap: draws only when it is time. `text` stands beside the bar: "step 420/1000  loss 3.21".
  void update(std::int64_t done, std::string_view text = {});
  // A line that stays, such as the result of an evaluation.
  void print(std::string_view line);
  // The last line, with the time that it took. Nothing is drawn after it.
  void finish(std::string_view text = {});

 private:
  double fraction() const;
  std::string share() const;      // "42%"
  std::string time_left() const;  // "  1:02 left", or "" if it cannot be told
  std::string live_line() const;  // fits the terminal
  void draw();
  void write(std::string_view text);

  std::FILE* out_;
  std::string title_;
  std::int64_t total_;
  std::int64_t first_done_;
  std::int64_t done_;
  ProgressOptions options_;
  std::string text_;
  double start_;
  double last_drawn_;
  double last_fraction_;
  bool live_ = false;  // a line is on the terminal that has no end yet
  bool finished_ = false;
};

// "0:07", "12:34", "1:02:03".
std::string format_duration(double seconds);

}  // namespace mudelta
