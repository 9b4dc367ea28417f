#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mudelta {

struct PlotPoint {
  double x, y;
  double error = 0;  // half the height of a shaded band around the line
};

// A point that stands out, in its line's colour. Where x_low < x_high, a vertical band over that range is shaded.
struct PlotMark {
  double x, y;
  double x_low = 0, x_high = 0;
};

struct PlotLine {
  std::string label;  // lines with the same label have the same colour in all panels, and one entry in the legend
  std::vector<PlotPoint> points;  // in the order in which they are joined; one that is not finite breaks the line
  std::vector<PlotMark> marks;
};

struct PlotPanel {
  std::string title;
  std::vector<PlotLine> lines;
};

// Panels in a grid over a common legend; the x axes are logarithmic.
struct Plot {
  std::string title, x_label, y_label;
  std::vector<PlotPanel> panels;
  int columns = 3;
  std::vector<double> x_ticks;  // empty: chosen by gnuplot
  bool log_y = false;
  bool points = true;  // a small marker at each point
};

// Writes STEM.dat and STEM.gnuplot, and has gnuplot turn them into STEM.svg and STEM.png. Returns a line that tells
// what is there now: without gnuplot, the data and the script. Throws Error if a file cannot be written.
std::string write_plot(const Plot& plot, const std::filesystem::path& stem);

}  // namespace mudelta
