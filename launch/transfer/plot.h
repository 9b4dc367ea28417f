#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace mudelta {

struct PlotPoint {
  double x, y;
  double error = 0;
};

// A point that stands out, in its line's colour. Where x_low < x_high, a vertical band over that range is shaded.
struct PlotMark {
  double x, y;
  double x_low = 0, x_high = 0;
};

struct PlotLine {
  std::string label;  // lines with the same label have the same colour in all panels, and one entry in the legend
  // In the order in which they are joined. NaN breaks the line; so does infinity, which is a cross at the upper edge.
  std::vector<PlotPoint> points;
  std::vector<PlotMark> marks;
};

struct PlotPanel {
  std::string title;
  std::vector<PlotLine> lines;
  std::vector<double> verticals;  // dashed lines at these x
  bool alert = false;             // title in red
};

enum class ErrorStyle : std::uint8_t { kBand, kBar };  // from y - error to y + error

// Panels in a grid over a common legend.
struct Plot {
  std::string title, x_label, y_label;
  std::vector<PlotPanel> panels;
  int columns = 3;
  int panel_width = 250, panel_height = 210;  // pixels
  std::vector<double> x_ticks;                // empty: chosen by gnuplot
  bool log_x = true, log_y = false;
  ErrorStyle errors = ErrorStyle::kBand;
  // One y scale for all panels, which ends at y_limit at the latest. What lies above is a triangle at the upper edge.
  bool share_y = false;
  double y_limit = std::numeric_limits<double>::infinity();
  // Legend entries; empty: none.
  std::string mark_label, vertical_label, infinite_label;
};

// Writes STEM.dat and STEM.gnuplot, and has gnuplot turn them into STEM.svg and STEM.png. Returns a line that tells
// what is there now: without gnuplot, the data and the script. Throws Error if a file cannot be written.
std::string write_plot(const Plot& plot, const std::filesystem::path& stem);

}  // namespace mudelta
