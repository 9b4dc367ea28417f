#include "launch/train/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/files/append.h"
#include "core/files/atomic_file.h"
#include "core/files/json.h"

namespace mudelta {
namespace {

using nlohmann::ordered_json;

constexpr char kEvalLoss[] = "eval_loss";

struct Records {
  std::string lines;
  bool has_evaluation = false;  // of the last step
};

// `where` begins the messages.
ordered_json parse_record(std::string_view line, const std::string& where) {
  constexpr std::string_view kExpected = "expected a JSON object with a whole number `step`";
  try {
    const auto record = parse_json<ordered_json>(line);
    require(record.is_object() && record.contains("step") && record["step"].is_number_integer(), "got another value");
    return record;
  } catch (const Error& error) {
    fail("{}: {}: {}", where, kExpected, error.what());
  }
}

// The lines of `text` whose step is at most `last_step`. The writer ends every line, so what follows the last line end
// is a record that was cut short.
Records records_up_to(std::string_view text, std::int64_t last_step, const std::filesystem::path& path) {
  Records kept;
  for (int number = 1; text.find('\n') != std::string_view::npos; ++number) {
    const std::string_view line = text.substr(0, text.find('\n') + 1);
    text.remove_prefix(line.size());
    const ordered_json record = parse_record(line, fmt::format("{}:{}", path.string(), number));
    const auto step = record["step"].get<std::int64_t>();
    if (step <= last_step) kept.lines += line;
    kept.has_evaluation = kept.has_evaluation || (step == last_step && record.contains(kEvalLoss));
  }
  return kept;
}

}  // namespace

MetricsWriter::MetricsWriter(std::filesystem::path path, std::int64_t last_step) : path_(std::move(path)) {
  const bool continues = last_step > 0 && std::filesystem::exists(path_);
  const Records records = continues ? records_up_to(read_file(path_), last_step, path_) : Records();
  has_evaluation_ = records.has_evaluation;
  write_file_atomically(path_, records.lines);
  file_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  require(file_ >= 0, "cannot open {}", path_.string());
}

MetricsWriter::~MetricsWriter() {
  if (file_ >= 0) ::close(file_);
}

void MetricsWriter::write(const StepMetrics& metrics) {
  const StepSeconds& seconds = metrics.seconds;
  ordered_json record = {{"step", metrics.step},
                         {"time", metrics.time},
                         {"loss", metrics.loss},
                         {"lr", metrics.lr},
                         {"grad_norm", metrics.grad_norm},
                         {"clipped", metrics.clipped},
                         {"tokens", metrics.tokens},
                         {"tokens_per_second", metrics.tokens_per_second},
                         {"mfu", metrics.mfu},
                         {"peak_flops", metrics.peak_flops},
                         {"memory", metrics.memory},
                         {"seconds",
                          {{"data", seconds.data},
                           {"forward_backward", seconds.forward_backward},
                           {"communication", seconds.communication},
                           {"update", seconds.update}}},
                         {"bytes_sent", metrics.bytes_sent}};
  if (metrics.skipped) {
    record["skipped"] = true;
    record["fault"] = metrics.fault;
    record["rows"] = {metrics.first_row, metrics.last_row};
  }
  for (const RoleNorms& norms : metrics.norms) {
    record["norms"][std::string(name_of(norms.role))] = {{"gradient", norms.gradient}, {"weight", norms.weight}};
  }
  for (const auto& [name, rows, share, epochs] : metrics.sources) {
    record["sources"][name] = {{"rows", rows}, {"share", share}, {"epochs", epochs}};
  }
  write_line(record);
}

void MetricsWriter::write(const EvalMetrics& metrics) {
  ordered_json record = {{"step", metrics.step},
                         {kEvalLoss, metrics.loss},
                         {"eval_bits_per_byte", metrics.bits_per_byte},
                         {"eval_tokens", metrics.tokens},
                         {"eval_seconds", metrics.seconds}};
  for (const auto& [name, loss] : metrics.source_losses) record["eval_sources"][name] = loss;
  write_line(record);
}

void MetricsWriter::write(const CheckpointMetrics& metrics) {
  write_line({{"step", metrics.step}, {"checkpoint_seconds", metrics.seconds}});
}

void MetricsWriter::write(const RollbackMetrics& metrics) {
  write_line({{"step", metrics.step},
              {"rolled_back_from", metrics.bad_step},
              {"fault", metrics.fault},
              {"rows", {metrics.first_row, metrics.last_row}}});
}

void MetricsWriter::write_line(const ordered_json& record) { append_whole(file_, path_, record.dump() + '\n'); }

}  // namespace mudelta
