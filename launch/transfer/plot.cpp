#include "launch/transfer/plot.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "core/files/atomic_file.h"

extern char** environ;

namespace mudelta {
namespace {

constexpr int kTitleHeight = 50, kLegendHeight = 60;  // pixels
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"};

const char* colour(std::size_t index) { return kColours[index % std::size(kColours)]; }

// In single quotes, as gnuplot reads it.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? "''" : std::string(1, c);
  return result + "'";
}

// In the order of their first appearance: a label's place decides its colour.
std::vector<std::string> labels_of(const Plot& plot) {
  std::vector<std::string> labels;
  for (const PlotPanel& panel : plot.panels) {
    for (const PlotLine& line : panel.lines) {
      if (std::ranges::find(labels, line.label) == labels.end()) labels.push_back(line.label);
    }
  }
  return labels;
}

// A block per line: x y error. Blocks are numbered from 0, as the script's `index`.
std::string data_of(const Plot& plot) {
  std::string data;
  for (const PlotPanel& panel : plot.panels) {
    for (const PlotLine& line : panel.lines) {
      data += fmt::format("# {} | {}: {}, {}, error\n", panel.title, line.label, plot.x_label, plot.y_label);
      for (const PlotPoint& p : line.points) {
        const bool drawn = std::isfinite(p.y) && std::isfinite(p.error);
        data += drawn ? fmt::format("{} {} {}\n", p.x, p.y, p.error) : "\n";
      }
      // gnuplot has no empty blocks.
      if (std::ranges::none_of(line.points, [](const PlotPoint& p) { return std::isfinite(p.y); }))
        data += "NaN NaN 0\n";
      data += "\n\n";
    }
  }
  return data;
}

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  void add(double y) {
    if (!std::isfinite(y)) return;
    low = std::min(low, y);
    high = std::max(high, y);
  }
};

// The scale of all panels, with some room around the points; empty if there is none.
Range shared_range(const Plot& plot) {
  Range range;
  for (const PlotPanel& panel : plot.panels) {
    for (const PlotLine& line : panel.lines) {
      for (const PlotPoint& p : line.points) {
        range.add(std::min(p.y - p.error, plot.y_limit));
        range.add(std::min(p.y + p.error, plot.y_limit));
      }
      for (const PlotMark& mark : line.marks) range.add(std::min(mark.y, plot.y_limit));
    }
  }
  const double room = range.high > range.low ? 0.05 * (range.high - range.low) : 1;
  return {range.low - room, range.high + room};
}

constexpr const char* kOptimum = "pt 3 ps 1.4 lw 2";   // a star
constexpr const char* kBeyond = "pt 9 ps 1.2";         // a triangle
constexpr const char* kInfinite = "pt 2 ps 1.1 lw 2";  // a cross
constexpr const char* kVertical = "dt 2 lw 1.5 lc rgb '#555555'";

bool is_beyond(const Plot& plot, const PlotPoint& point) { return std::isfinite(point.y) && point.y > plot.y_limit; }
bool is_infinite(const PlotPoint& point) { return point.y == std::numeric_limits<double>::infinity(); }

bool any_point(const Plot& plot, const std::function<bool(const PlotPoint&)>& is_such) {
  return std::ranges::any_of(plot.panels, [&](const PlotPanel& panel) {
    return std::ranges::any_of(panel.lines,
                               [&](const PlotLine& line) { return std::ranges::any_of(line.points, is_such); });
  });
}

std::string at_upper_edge(double x, const char* symbol, const std::string& colour) {
  return fmt::format("set label '' at first {}, graph 0.975 point {} lc rgb '{}'\n", x, symbol, colour);
}

// What stands in a panel beside its curves, which have these colours.
std::string decorations(const Plot& plot, const PlotPanel& panel, const std::vector<std::string>& colours) {
  std::string script;
  for (const double x : panel.verticals) {
    script += fmt::format("set arrow from {0},graph 0 to {0},graph 1 nohead {1}\n", x, kVertical);
  }
  for (std::size_t i = 0; i < panel.lines.size(); ++i) {
    for (const PlotMark& mark : panel.lines[i].marks) {
      if (mark.x_low >= mark.x_high) continue;
      script += fmt::format(
          "set object rectangle from {},graph 0 to {},graph 1 behind fc rgb '{}' fs transparent solid 0.15 noborder\n",
          mark.x_low, mark.x_high, colours[i]);
    }
    for (const PlotPoint& point : panel.lines[i].points) {
      if (is_beyond(plot, point)) script += at_upper_edge(point.x, kBeyond, colours[i]);
      if (is_infinite(point)) script += at_upper_edge(point.x, kInfinite, colours[i]);
    }
  }
  return script;
}

std::string panel_script(const Plot& plot, const PlotPanel& panel, const std::vector<std::string>& labels,
                         std::size_t& block) {
  std::vector<std::string> colours, errors, curves, marks;
  for (const PlotLine& line : panel.lines) {
    const auto place = static_cast<std::size_t>(std::ranges::find(labels, line.label) - labels.begin());
    const std::string rgb = fmt::format("lc rgb '{}'", colours.emplace_back(colour(place)));
    const auto has_error = [](const PlotPoint& p) { return p.error > 0; };
    if (std::ranges::any_of(line.points, has_error)) {
      errors.push_back(
          plot.errors == ErrorStyle::kBand
              ? fmt::format(
                    "data index {} using 1:($2-$3):($2+$3) with filledcurves {} fs transparent solid 0.2 noborder",
                    block, rgb)
              : fmt::format("data index {} using 1:2:3 with yerrorbars pt 0 {}", block, rgb));
    }
    curves.push_back(fmt::format("data index {} using 1:2 with linespoints pt 7 ps 0.35 {} lw 1.5", block, rgb));
    for (const PlotMark& mark : line.marks) {
      marks.push_back(fmt::format("'+' every ::::0 using ({}):({}) with points {} {}", mark.x, mark.y, kOptimum, rgb));
    }
    ++block;
  }
  errors.insert(errors.end(), curves.begin(), curves.end());
  errors.insert(errors.end(), marks.begin(), marks.end());
  return fmt::format("set title {}{}\nunset object\nunset arrow\nunset label\n{}plot {}\n", quoted(panel.title),
                     panel.alert ? " tc rgb '#c00000'" : " tc rgb 'black'", decorations(plot, panel, colours),
                     fmt::join(errors, ", \\\n  "));
}

// Under the panels: a plot of nothing, whose key names colours and symbols.
std::string legend_script(const Plot& plot, const std::vector<std::string>& labels, double height) {
  std::vector<std::string> entries;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    entries.push_back(fmt::format("NaN with lines lw 3 lc rgb '{}' title {}", colour(i), quoted(labels[i])));
  }
  const auto add_symbol = [&](const char* symbol, const std::string& label) {
    entries.push_back(fmt::format("NaN with points {} lc rgb 'black' title {}", symbol, quoted(label)));
  };
  if (!plot.mark_label.empty()) add_symbol(kOptimum, plot.mark_label);
  if (!plot.vertical_label.empty()) {
    entries.push_back(fmt::format("NaN with lines {} title {}", kVertical, quoted(plot.vertical_label)));
  }
  if (any_point(plot, [&](const PlotPoint& p) { return is_beyond(plot, p); })) add_symbol(kBeyond, "above the scale");
  if (any_point(plot, is_infinite)) add_symbol(kInfinite, plot.infinite_label);
  return fmt::format(
      "unset title\nunset xlabel\nunset ylabel\nunset tics\nunset border\nunset logscale\nunset object\nunset arrow\n"
      "unset label\nset key center center horizontal Left reverse samplen 3\nset size 1,{}\nset origin 0,0\n"
      "set xrange [0:1]\nset yrange [0:1]\nplot {}\n",
      height, fmt::join(entries, ", \\\n  "));
}

// What all panels share.
std::string axes_script(const Plot& plot) {
  std::string script = fmt::format(
      "unset key\nset grid lc rgb '#dddddd'\nset tics nomirror\nset xlabel {} offset 0,0.5\n"
      "set ylabel {} offset 1,0\nset format y '%g'\n",
      quoted(plot.x_label), quoted(plot.y_label));
  if (!plot.x_ticks.empty()) {
    std::vector<std::string> ticks;
    for (const double tick : plot.x_ticks) ticks.push_back(fmt::format("'{:.3g}' {}", tick, tick));
    const auto [lowest, highest] = std::ranges::minmax(plot.x_ticks);
    script += fmt::format("set xtics ({})\nset xrange [{}:{}]\n", fmt::join(ticks, ", "), lowest / 1.3, highest * 1.3);
  }
  if (plot.log_x) script += "set logscale x\n";
  if (plot.log_y) script += "set logscale y\n";
  if (const Range range = shared_range(plot); plot.share_y && std::isfinite(range.low)) {
    script += fmt::format("set yrange [{}:{}]\n", range.low, range.high);
  }
  return script;
}

std::string script_of(const Plot& plot, const std::string& name) {
  const std::vector<std::string> labels = labels_of(plot);
  const int columns = std::min(plot.columns, static_cast<int>(plot.panels.size()));
  const int rows = (static_cast<int>(plot.panels.size()) + columns - 1) / columns;
  const int width = columns * plot.panel_width, height = kTitleHeight + rows * plot.panel_height + kLegendHeight;
  const auto across = [&](int pixels) { return static_cast<double>(pixels) / width; };
  const auto up = [&](int pixels) { return static_cast<double>(pixels) / height; };
  std::string script = fmt::format(
      "# gnuplot {0}.gnuplot  writes {0}.svg and {0}.png\n"
      "data = {1}\n"
      "do for [format in 'svg png'] {{\n"
      "reset\n"
      "if (format eq 'svg') {{ set terminal svg noenhanced size {2},{3} font 'sans,10' background 'white' }} else "
      "{{ set terminal pngcairo noenhanced size {2},{3} font 'sans,8' }}\n"
      "set output {4}.'.'.format\n"
      "set multiplot layout {5},{6} title {7} margins screen {8:.4f}, screen {9:.4f}, screen {10:.4f}, screen {11:.4f} "
      "spacing screen {12:.4f}, screen {13:.4f}\n",
      name, quoted(name + ".dat"), width, height, quoted(name), rows, columns, quoted(plot.title), across(70),
      1 - across(15), up(kLegendHeight + 45), 1 - up(kTitleHeight), across(70), up(70));
  script += axes_script(plot);
  std::size_t block = 0;
  for (const PlotPanel& panel : plot.panels) script += panel_script(plot, panel, labels, block);
  return script + "unset margins\n" + legend_script(plot, labels, up(kLegendHeight)) +
         "unset multiplot\nunset output\n}\n";
}

enum class Outcome { kDone, kMissing, kFailed };

// gnuplot in `folder`, which is where its files are.
Outcome run_gnuplot(const std::filesystem::path& folder, const std::string& script) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  std::string program = "gnuplot", argument = script;
  char* arguments[] = {program.data(), argument.data(), nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Outcome::kMissing;
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? Outcome::kDone : Outcome::kFailed;
}

}  // namespace

std::string write_plot(const Plot& plot, const std::filesystem::path& stem) {
  const std::string name = stem.filename().string();
  const std::filesystem::path folder = stem.has_parent_path() ? stem.parent_path() : ".";
  write_file_atomically(folder / (name + ".dat"), data_of(plot));
  write_file_atomically(folder / (name + ".gnuplot"), script_of(plot, name));
  switch (run_gnuplot(folder, name + ".gnuplot")) {
    case Outcome::kDone: return fmt::format("plot: {0}.svg, {0}.png", stem.string());
    case Outcome::kMissing:
      return fmt::format("gnuplot is not installed: {0}.dat and {0}.gnuplot are left to be drawn", stem.string());
    case Outcome::kFailed: break;
  }
  return fmt::format("gnuplot failed: {0}.dat and {0}.gnuplot are left to be drawn", stem.string());
}

}  // namespace mudelta
