#include "launch/train/metrics.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::names_in;
using testing::read_file;
using testing::TemporaryFolder;
using testing::write_file;

std::vector<json> records_in(const std::filesystem::path& path) {
  std::vector<json> records;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) records.push_back(json::parse(line));
  return records;
}

std::vector<std::int64_t> steps_in(const std::filesystem::path& path) {
  std::vector<std::int64_t> steps;
  for (const json& record : records_in(path)) steps.push_back(record.at("step"));
  return steps;
}

void write_steps(MetricsWriter& writer, std::int64_t first, std::int64_t last) {
  for (std::int64_t step = first; step <= last; ++step) writer.write(StepMetrics{.step = step, .loss = 1.0 / step});
}

TEST(Metrics, EachRecordIsALineAtOnce) {
  const TemporaryFolder folder;
  MetricsWriter writer(folder / "metrics.jsonl", 0);
  writer.write(StepMetrics{.step = 1,
                           .time = 1.7e9,
                           .loss = 0.1,
                           .lr = 4e-3,
                           .grad_norm = 2.5,
                           .clipped = true,
                           .tokens = 4096,
                           .tokens_per_second = 1e6,
                           .mfu = 0.5,
                           .peak_flops = 2e12,
                           .memory = 1 << 30,
                           .seconds = {.data = 0.125, .forward_backward = 3, .communication = 0.5, .update = 0.25},
                           .bytes_sent = {{"data", 12}, {"tensor", 7}}});
  EXPECT_EQ(read_file(folder / "metrics.jsonl"),
            R"({"step":1,"time":1700000000.0,"loss":0.1,"lr":0.004,"grad_norm":2.5,"clipped":true,"tokens":4096,)"
            R"("tokens_per_second":1000000.0,"mfu":0.5,"peak_flops":2000000000000.0,"memory":1073741824,)"
            R"("seconds":{"data":0.125,"forward_backward":3.0,"communication":0.5,"update":0.25},"bytes_sent":{"data":12,"tensor":7}})"
            "\n");
  writer.write(EvalMetrics{.step = 1, .loss = 0.25, .bits_per_byte = 0.5, .tokens = 8, .seconds = 2});
  EXPECT_EQ(records_in(folder / "metrics.jsonl").at(1),
            json::parse(R"({"step":1,"eval_loss":0.25,"eval_bits_per_byte":0.5,"eval_tokens":8,"eval_seconds":2.0})"));
  writer.write(CheckpointMetrics{.step = 1, .seconds = 0.5});
  EXPECT_EQ(records_in(folder / "metrics.jsonl").at(2), json::parse(R"({"step":1,"checkpoint_seconds":0.5})"));
  writer.write(StepMetrics{.step = 2, .norms = {{.role = Role::kGate, .gradient = 0.5, .weight = 2}}});
  EXPECT_EQ(records_in(folder / "metrics.jsonl").at(3).at("norms"),
            json::parse(R"({"GATE":{"gradient":0.5,"weight":2.0}})"));
}

TEST(Metrics, NumbersKeepEveryDigit) {
  const TemporaryFolder folder;
  const double loss = 1.0 / 3.0;
  MetricsWriter(folder / "metrics.jsonl", 0).write(StepMetrics{.step = 1, .loss = loss});
  EXPECT_EQ(records_in(folder / "metrics.jsonl").at(0).at("loss").get<double>(), loss);
}

TEST(Metrics, NumbersThatAreNotFiniteAreNull) {
  const TemporaryFolder folder;
  MetricsWriter writer(folder / "metrics.jsonl", 0);
  writer.write(StepMetrics{
      .step = 1, .loss = std::nan(""), .grad_norm = std::numeric_limits<double>::infinity(), .skipped = true});
  const json record = records_in(folder / "metrics.jsonl").at(0);
  EXPECT_TRUE(record.at("loss").is_null());
  EXPECT_TRUE(record.at("grad_norm").is_null());
  EXPECT_EQ(record.at("skipped"), true);
}

TEST(Metrics, ResumeDropsLaterStepsAndATornLine) {
  const TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  {
    MetricsWriter writer(path, 0);
    write_steps(writer, 1, 4);
    writer.write(EvalMetrics{.step = 4});
    write_steps(writer, 5, 7);
  }
  write_file(path, read_file(path) + R"({"step":8,"lo)");
  MetricsWriter writer(path, 4);
  EXPECT_THAT(steps_in(path), ElementsAre(1, 2, 3, 4, 4));
  write_steps(writer, 5, 6);
  EXPECT_THAT(steps_in(path), ElementsAre(1, 2, 3, 4, 4, 5, 6));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("metrics.jsonl"));
}

TEST(Metrics, ResumeKnowsWhetherItsStepWasEvaluated) {
  const TemporaryFolder folder;
  const auto path = write_file(folder / "metrics.jsonl",
                               "{\"step\":1}\n{\"step\":1,\"eval_loss\":2.5}\n{\"step\":2,\"loss\":1}\n"
                               "{\"step\":3}\n{\"step\":3,\"eval_loss\":null}\n");
  EXPECT_TRUE(MetricsWriter(path, 3).has_evaluation());
  EXPECT_FALSE(MetricsWriter(path, 2).has_evaluation());
  EXPECT_TRUE(MetricsWriter(path, 1).has_evaluation());
  EXPECT_FALSE(MetricsWriter(path, 0).has_evaluation());
}

TEST(Metrics, ALastLineWithoutItsEndIsTorn) {
  const TemporaryFolder folder;
  const auto path = write_file(folder / "metrics.jsonl", "{\"step\":1}\n{\"step\":2}");
  MetricsWriter writer(path, 2);
  EXPECT_THAT(steps_in(path), ElementsAre(1));
}

TEST(Metrics, ResumeFromTheStartOrWithoutAFileBeginsAnew) {
  const TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  {
    MetricsWriter writer(path, 3);
    write_steps(writer, 4, 4);
  }
  EXPECT_THAT(steps_in(path), ElementsAre(4));
  MetricsWriter writer(path, 0);
  EXPECT_EQ(read_file(path), "");
}

TEST(Metrics, AFileOfSomethingElseIsRefused) {
  const TemporaryFolder folder;
  for (const char* line : {"text\n", "[1]\n", "{\"loss\":1}\n", "{\"step\":\"1\"}\n", "\n"}) {
    const auto path = write_file(folder / "metrics.jsonl", std::string("{\"step\":1}\n") + line);
    EXPECT_THAT(error_of([&] { MetricsWriter(path, 5); }), HasSubstr(path.string() + ":2: expected a JSON object"));
    EXPECT_EQ(read_file(path), std::string("{\"step\":1}\n") + line);
  }
}

// A limit on the size of files stands for a full disk.
TEST(Metrics, AFullDiskIsAnErrorAndWhatWasWrittenStays) {
  const TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  std::int64_t written = 0;
  std::string error;
  {
    MetricsWriter writer(path, 0);
    const rlimit limit{.rlim_cur = 2000, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    error = error_of([&] {
      for (; written < 100; ++written) write_steps(writer, written + 1, written + 1);
    });
    ::setrlimit(RLIMIT_FSIZE, &before);
  }
  EXPECT_THAT(error, HasSubstr(path.string()));
  EXPECT_GT(written, 1);
  EXPECT_LT(written, 100);
  MetricsWriter resumed(path, written);
  write_steps(resumed, written + 1, written + 2);
  const std::vector<std::int64_t> steps = steps_in(path);
  ASSERT_EQ(std::ssize(steps), written + 2);
  for (std::int64_t i = 0; i < written + 2; ++i) EXPECT_EQ(steps[static_cast<std::size_t>(i)], i + 1);
}

TEST(Metrics, AnUnwritableFileIsAnError) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { MetricsWriter(folder / "absent/metrics.jsonl", 0); }), HasSubstr("absent/metrics.jsonl"));
}

}  // namespace
}  // namespace mudelta
