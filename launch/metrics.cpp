#include "launch/metrics.h"

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "launch/atomic_file.h"

namespace mudelta {
namespace {

using nlohmann::ordered_json;

// The lines of `text` whose step is at most `last_step`. The writer ends every line, so what follows the last line end
// is a record that was cut short.
std::string records_up_to(std::string_view text, std::int64_t last_step, const std::filesystem::path& path) {
  std::string kept;
  for (int number = 1; text.find('\n') != std::string_view::npos; ++number) {
    const std::string_view line = text.substr(0, text.find('\n') + 1);
    text.remove_prefix(line.size());
    const ordered_json record = ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    require(record.is_object() && record.contains("step") && record["step"].is_number_integer(),
            "{}:{}: expected a JSON object with a whole number `step`", path.string(), number);
    if (record["step"].get<std::int64_t>() <= last_step) kept += line;
  }
  return kept;
}

}  // namespace

MetricsWriter::MetricsWriter(std::filesystem::path path, std::int64_t last_step) : path_(std::move(path)) {
  const bool continues = last_step > 0 && std::filesystem::exists(path_);
  write_file_atomically(path_, continues ? records_up_to(read_file(path_), last_step, path_) : "");
  file_.open(path_, std::ios::app);
  require(file_.good(), "cannot open {}", path_.string());
}

void MetricsWriter::write(const StepMetrics& metrics) {
  ordered_json record = {{"step", metrics.step},     {"loss", metrics.loss},
                         {"lr", metrics.lr},         {"grad_norm", metrics.grad_norm},
                         {"tokens", metrics.tokens}, {"tokens_per_second", metrics.tokens_per_second},
                         {"mfu", metrics.mfu},       {"memory", metrics.memory}};
  if (metrics.skipped) record["skipped"] = true;
  write_line(record);
}

void MetricsWriter::write(const EvalMetrics& metrics) {
  write_line({{"step", metrics.step},
              {"eval_loss", metrics.loss},
              {"eval_bits_per_byte", metrics.bits_per_byte},
              {"eval_tokens", metrics.tokens}});
}

void MetricsWriter::write_line(const ordered_json& record) {
  file_ << record.dump() << '\n' << std::flush;
  require(file_.good(), "cannot write {}: is the disk full?", path_.string());
}

}  // namespace mudelta
