#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/files/file_reader.h"
#include "core/files/json.h"
#include "launch/commands/commands.h"
#include "launch/commands/shared_options.h"
#include "launch/job/agreement.h"
#include "launch/job/output_path.h"
#include "launch/transfer/plot.h"

namespace mudelta {
namespace {

constexpr std::size_t kMostPoints = 500;  // of a run: more are drawn as means of neighbours

struct PlotArguments {
  std::vector<std::string> runs;
  std::string x = "step", y = "loss", out;
  bool log_x = false, log_y = false, force = false;
};

// One record of metrics.jsonl: fields that are numbers; null is not a number.
using Record = std::map<std::string, double>;

std::vector<Record> read_records(const std::filesystem::path& path) {
  const std::string content = FileReader(path).text();
  std::vector<Record> records;
  std::string_view rest = content;
  for (int line = 1; rest.find('\n') != rest.npos; ++line) {  // the last one may be cut short
    const std::string_view text = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(text.size() + 1);
    try {
      const auto json = parse_json<nlohmann::json>(text);
      require(json.is_object() && json.contains("step"), "expected an object with a `step`");
      Record& record = records.emplace_back();
      for (const auto& [name, value] : json.items()) {
        if (value.is_number()) record[name] = value.get<double>();
        if (value.is_null()) record[name] = std::numeric_limits<double>::infinity();
      }
    } catch (const Error& error) {
      fail("{}:{}: {}", path.string(), line, error.what());
    }
  }
  return records;
}

// y against x. What a record lacks of x (an evaluation has the step alone) is that of the last one that has it.
std::vector<PlotPoint> points_of(const std::vector<Record>& records, const std::string& x, const std::string& y) {
  std::vector<PlotPoint> points;
  double first_time = std::numeric_limits<double>::quiet_NaN();
  Record last;
  for (const Record& record : records) {
    for (const char* name : {"step", "tokens", "time"}) {
      if (record.contains(name)) last[name] = record.at(name);
    }
    if (std::isnan(first_time) && last.contains("time")) first_time = last["time"];
    if (!record.contains(y) || !last.contains(x)) continue;
    constexpr double kHour = 3600;
    points.push_back({x == "time" ? (last[x] - first_time) / kHour : last[x], record.at(y)});
  }
  return points;
}

std::vector<PlotPoint> thinned(const std::vector<PlotPoint>& points) {
  const std::size_t each = (points.size() + kMostPoints - 1) / kMostPoints;
  if (each <= 1) return points;
  std::vector<PlotPoint> means;
  for (std::size_t begin = 0; begin < points.size(); begin += each) {
    const std::size_t end = std::min(begin + each, points.size());
    PlotPoint mean{0, 0};
    for (std::size_t i = begin; i < end; ++i) {
      mean.x += points[i].x / static_cast<double>(end - begin);
      mean.y += points[i].y / static_cast<double>(end - begin);
    }
    means.push_back(mean);
  }
  return means;
}

void run_plot(const PlotArguments& arguments) {
  const std::map<std::string, std::string> axes = {{"step", "step"}, {"tokens", "tokens"}, {"time", "hours"}};
  Plot plot{.title = fmt::format("{} against {}", arguments.y, axes.at(arguments.x)),
            .x_label = axes.at(arguments.x),
            .y_label = arguments.y,
            .columns = 1,
            .panel_width = 700,
            .panel_height = 420,
            .log_x = arguments.log_x,
            .log_y = arguments.log_y,
            .infinite_label = "not finite"};
  PlotPanel panel;
  for (const std::string& run : arguments.runs) {
    const std::filesystem::path path =
        std::filesystem::is_directory(run) ? std::filesystem::path(run) / "metrics.jsonl" : std::filesystem::path(run);
    const std::vector<PlotPoint> points = points_of(read_records(path), arguments.x, arguments.y);
    require(!points.empty(), "{} has no record with `{}`", path.string(), arguments.y);
    panel.lines.push_back({.label = run, .points = thinned(points)});
    fmt::print("{}: {} records, {} {:.6g} at the last\n", run, points.size(), arguments.y, points.back().y);
  }
  plot.panels.push_back(std::move(panel));
  for (const char* ending : {".dat", ".gnuplot", ".svg", ".png"}) {
    require_free_file(arguments.out + ending, arguments.force);
  }
  fmt::print("{}\n", write_plot(plot, arguments.out));
}

}  // namespace

void add_plot_command(CLI::App& app, Command& chosen) {
  auto arguments = std::make_shared<PlotArguments>();
  CLI::App* command = app.add_subcommand("plot", "Draw the metrics of runs");
  command->footer("Example: mudelta plot runs/1 runs/2 --x tokens --out losses");
  command->add_option("RUN", arguments->runs, "Folders of runs, or their metrics.jsonl")->type_name("DIR")->required();
  command->add_option("--x", arguments->x, "step, tokens or time (hours since the first record)")
      ->check(CLI::IsMember({"step", "tokens", "time"}))
      ->capture_default_str();
  command
      ->add_option("--y", arguments->y,
                   "A field of metrics.jsonl: loss, eval_loss, eval_bits_per_byte, lr, grad_norm, tokens_per_second, "
                   "mfu, ...")
      ->capture_default_str();
  command->add_flag("--log-x", arguments->log_x, "A logarithmic x axis");
  command->add_flag("--log-y", arguments->log_y, "A logarithmic y axis");
  command->add_option("--out", arguments->out, "Writes OUT.svg and OUT.png by gnuplot, from OUT.dat and OUT.gnuplot")
      ->type_name("OUT")
      ->required();
  add_force_option(*command, arguments->force);
  command->callback([arguments, &chosen] {
    chosen = [arguments] {
      return run_on_first_rank([&] {
        run_plot(*arguments);
        return 0;
      });
    };
  });
}

}  // namespace mudelta
