#include "launch/transfer/sweep/sweep_results.h"

#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <system_error>

#include "core/error.h"
#include "core/files/atomic_file.h"
#include "core/files/file_writer.h"
#include "core/files/json.h"
#include "launch/config/config_text.h"
#include "launch/job/folder_lock.h"
#include "launch/job/output_path.h"

namespace mudelta {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::string_view kRankPrefix = "sweep.rank-";

std::string line_of(const SweepResult& result) {
  ordered_json record = {{"parametrization", ParametrizationConfig::Kind_Name(result.run.parametrization)},
                         {"optimizer", name_of(result.run.optimizer)},
                         {"width", result.run.width},
                         {"lr", result.run.lr},
                         {"seed", result.run.seed},
                         {"loss", nullptr},
                         {"diverged", !result.loss.has_value()},
                         {"steps", result.steps},
                         {"seconds", result.seconds}};
  if (result.loss) record["loss"] = *result.loss;
  if (!result.run.varied.empty()) record["varied"] = result.run.varied;
  return record.dump() + "\n";
}

SweepResult parse_line(std::string_view line, const fs::path& path, int number) {
  try {
    const ordered_json record = parse_json<ordered_json>(line);
    SweepResult result;
    result.run = {.parametrization = parse_parametrization(record.at("parametrization").get<std::string>()),
                  .optimizer = parse_optimizer_kind(record.at("optimizer").get<std::string>()),
                  .width = record.at("width"),
                  .lr = record.at("lr"),
                  .seed = record.at("seed"),
                  .varied = record.value("varied", std::vector<std::string>())};
    if (!record.at("loss").is_null()) result.loss = record["loss"].get<double>();
    result.steps = record.value("steps", std::int64_t{0});
    result.seconds = record.value("seconds", 0.0);
    require(result.run.width >= 1 && result.run.lr > 0, "width {}, lr {}: expected both above 0", result.run.width,
            result.run.lr);
    return result;
  } catch (const std::exception& error) {
    fail("{}:{}: no result of a run: {}", path.string(), number, error.what());
  }
}

using ResultMap = std::map<SweepRun, SweepResult>;

void read_file_into(const fs::path& path, ResultMap& results) {
  const std::string file = read_file(path);
  std::string_view text = file;
  for (int number = 1; text.find('\n') != std::string_view::npos; ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(line.size() + 1);
    const SweepResult result = parse_line(line, path, number);
    results.insert_or_assign(result.run, result);
  }
}

std::string system_reason() { return std::strerror(errno); }

}  // namespace

fs::path SweepDirectory::results_of(int group) const {
  return root_ / fmt::format("{}{:04}.jsonl", kRankPrefix, group);
}

fs::path SweepDirectory::folder_of(const SweepRun& run) const {
  std::string name = fmt::format("{}-{}-width{}-lr{}-seed{}", ParametrizationConfig::Kind_Name(run.parametrization),
                                 name_of(run.optimizer), run.width, run.lr, run.seed);
  for (const std::string& setting : run.varied) name += "-" + setting;
  return runs() / name;
}

void SweepDirectory::remove_folder_of(const SweepRun& run) const {
  const fs::path folder = folder_of(run);
  std::error_code error;
  fs::remove_all(folder, error);
  require(!error, "cannot remove {}: {}", folder.string(), error.message());
  fs::remove(runs(), error);  // unless it holds others
}

SweepConfig SweepDirectory::read_config() const {
  std::error_code error;
  require(fs::is_directory(root_, error), "{} is no folder: expected that of a sweep", root_.string());
  require(fs::exists(config(), error), "{} holds no sweep (no sweep.textproto)", root_.string());
  SweepConfig sweep;
  parse_text(read_file(config()), config().string(), sweep);
  require(sweep.has_base_width() && sweep.run().model().has_vocab_size(), "{} is not complete: was it written by hand?",
          config().string());
  return sweep;
}

void SweepDirectory::make() const { make_folder(root_); }

void SweepDirectory::write_config(const SweepConfig& sweep) const {
  std::error_code error;
  remove_temporaries_of(config());
  if (fs::exists(config(), error)) {
    if (holds_runs()) require_same_runs(read_config(), sweep, root_);
  } else {
    require(FolderLock::nothing_else_in(root_),
            "{} is not empty and holds no sweep: expected an absent or empty folder, or a sweep's to go on with",
            root_.string());
  }
  std::string text;
  google::protobuf::TextFormat::PrintToString(sweep, &text);
  write_file_atomically(config(), text);
}

bool SweepDirectory::holds_runs() const {
  std::error_code absent;
  return !read().empty() || fs::directory_iterator(runs(), absent) != fs::directory_iterator();
}

std::vector<fs::path> SweepDirectory::result_files() const {
  std::vector<fs::path> files;
  std::error_code error;
  if (fs::exists(results(), error)) files.push_back(results());
  for (fs::directory_iterator it(root_, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().starts_with(kRankPrefix)) files.push_back(it->path());
  }
  require(!error, "cannot list {}: {}", root_.string(), error.message());
  return files;
}

std::vector<SweepResult> SweepDirectory::read() const {
  ResultMap results;
  for (const fs::path& file : result_files()) read_file_into(file, results);
  std::vector<SweepResult> list;
  for (const auto& [run, result] : results) list.push_back(result);
  return list;
}

std::vector<SweepResult> SweepDirectory::gather() const {
  const std::vector<SweepResult> results = read();
  remove_temporaries_of(this->results());
  std::string text;
  for (const SweepResult& result : results) text += line_of(result);
  write_file_atomically(this->results(), text);
  for (const fs::path& file : result_files()) {
    if (file != this->results()) fs::remove(file);
  }
  return results;
}

void SweepDirectory::request_stop(const std::string& reason) const {
  const int descriptor = ::open(stop_request().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0 && errno == EEXIST) return;
  require(descriptor >= 0, "cannot open {}: {}", stop_request().string(), system_reason());
  const ssize_t written = ::write(descriptor, reason.data(), reason.size());
  ::close(descriptor);
  require(written == std::ssize(reason), "cannot write {}", stop_request().string());
}

bool SweepDirectory::stop_requested() const {
  std::error_code error;
  return fs::exists(stop_request(), error);
}

std::optional<std::string> SweepDirectory::take_stop_request() const {
  if (!stop_requested()) return std::nullopt;
  std::string reason = read_file(stop_request());
  fs::remove(stop_request());
  return reason;
}

ResultWriter::ResultWriter(fs::path path)
    : path_(std::move(path)),
      descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0666)) {
  require(descriptor_ >= 0, "cannot open {}: {}", path_.string(), system_reason());
}

ResultWriter::~ResultWriter() { ::close(descriptor_); }

void ResultWriter::append(const SweepResult& result) {
  const std::string line = line_of(result);
  const ssize_t written = ::write(descriptor_, line.data(), line.size());
  require(written == static_cast<ssize_t>(line.size()), "cannot write {}: {}", path_.string(),
          written < 0 ? system_reason() : "the disk is full");
  require(::fsync(descriptor_) == 0, "cannot write {}: {}", path_.string(), system_reason());
}

}  // namespace mudelta
