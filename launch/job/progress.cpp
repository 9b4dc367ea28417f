#include "launch/job/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "launch/job/printable.h"
#include "launch/job/terminal.h"

namespace mudelta {
namespace {

constexpr int kMinBarColumns = 10;
constexpr int kMaxBarColumns = 30;
constexpr std::string_view kClearLine = "\r\x1b[K";

double monotonic_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// "  " and as many of the parts of `text`, which two spaces separate, as fit into `columns`; "" if none does.
std::string beginning(std::string_view text, std::size_t columns) {
  while (text.size() + 2 > columns) {
    const std::size_t gap = text.rfind("  ");
    if (gap == std::string_view::npos) return "";
    text = text.substr(0, gap);
  }
  return text.empty() ? "" : fmt::format("  {}", text);
}

ProgressOptions options_for(std::FILE* out) {
  ProgressOptions options;
  options.columns = terminal_columns(out);
  options.measure_columns = [out] { return terminal_columns(out); };
  return options;
}

}  // namespace

Progress::Progress(std::FILE* out, std::string title, std::int64_t total, std::int64_t done)
    : Progress(out, std::move(title), total, done, options_for(out)) {}

Progress::Progress(std::FILE* out, std::string title, std::int64_t total, std::int64_t done, ProgressOptions options)
    : out_(out),
      title_(std::move(title)),
      total_(std::max<std::int64_t>(total, 1)),
      first_done_(done),
      done_(done),
      options_(std::move(options)) {
  if (!options_.clock) options_.clock = monotonic_seconds;
  start_ = options_.clock();
  // A live line is drawn at the first update, a plain one when the first is due.
  last_drawn_ = options_.columns > 0 ? -HUGE_VAL : start_;
  last_fraction_ = fraction();
}

Progress::~Progress() {
  if (live_) write("\n");
}

void Progress::update(std::int64_t done, std::string_view text) {
  done_ = done;
  text_ = text;
  const double since_drawn = options_.clock() - last_drawn_;
  if (options_.columns > 0) {
    if (since_drawn >= options_.seconds_between_redraws) draw();
    return;
  }
  // The last line is left to `finish`.
  if (done_ >= total_) return;
  if (since_drawn >= options_.seconds_between_lines || fraction() - last_fraction_ >= options_.fraction_between_lines) {
    draw();
  }
}

void Progress::print(std::string_view line) {
  write(fmt::format("{}{}\n", live_ ? kClearLine : "", printable(line)));
  if (live_) draw();
}

void Progress::finish(std::string_view text) {
  if (finished_) return;
  finished_ = true;
  write(fmt::format("{}{} done{}{}  in {}\n", live_ ? kClearLine : "", title_, text.empty() ? "" : "  ", text,
                    format_duration(options_.clock() - start_)));
  live_ = false;
}

double Progress::fraction() const {
  return std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0);
}

std::string Progress::share() const { return fmt::format("{:3.0f}%", std::floor(100 * fraction())); }

std::string Progress::time_left() const {
  if (done_ <= first_done_ || done_ >= total_) return "";
  const double seconds_each = (options_.clock() - start_) / static_cast<double>(done_ - first_done_);
  return fmt::format("  {} left", format_duration(seconds_each * static_cast<double>(total_ - done_)));
}

// On a narrow terminal first the bar is left out, then what must be of the text, then the title.
std::string Progress::live_line() const {
  const int columns = options_.columns - 1;  // the last would wrap on some terminals
  const std::string left = time_left();
  const std::string all = share() + beginning(text_, std::string::npos) + left;
  const int room = columns - static_cast<int>(title_.size() + all.size()) - 5;
  if (room >= kMinBarColumns) {
    const int bar = std::min(room, kMaxBarColumns);
    const int filled = static_cast<int>(std::lround(fraction() * bar));
    return fmt::format("{} [{:#<{}}{:.<{}}] {}", title_, "", filled, "", bar - filled, all);
  }
  const int for_text = columns - static_cast<int>(title_.size() + 2 + share().size() + left.size());
  const std::string right = share() + beginning(text_, static_cast<std::size_t>(std::max(for_text, 0))) + left;
  return (for_text >= 0 ? title_ + "  " + right : right).substr(0, static_cast<std::size_t>(columns));
}

void Progress::draw() {
  last_drawn_ = options_.clock();
  last_fraction_ = fraction();
  if (options_.columns > 0) {
    if (options_.measure_columns) options_.columns = std::max(options_.measure_columns(), 2);
    live_ = true;
    write(fmt::format("{}{}", kClearLine, live_line()));
  } else {
    write(fmt::format("{} {}{}{}\n", title_, share(), beginning(text_, std::string::npos), time_left()));
  }
}

void Progress::write(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), out_);
  std::fflush(out_);
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::clamp(std::round(seconds), 0.0, 1e15));
  const std::int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

}  // namespace mudelta
