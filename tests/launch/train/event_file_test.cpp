#include "launch/train/event_file.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using tensorboard::Event;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// RFC 3720, B.4, and the common check value.
TEST(Crc32c, KnownValues) {
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

template <class T>
T take(std::string& bytes) {
  T value{};
  EXPECT_GE(bytes.size(), sizeof(T));
  std::memcpy(&value, bytes.data(), sizeof(T));
  bytes.erase(0, sizeof(T));
  return value;
}

std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

std::vector<Event> events_in(const std::filesystem::path& file) {
  std::string bytes = read_file(file);
  std::vector<Event> events;
  while (!bytes.empty()) {
    const std::string length_bytes = bytes.substr(0, 8);
    const auto length = take<std::uint64_t>(bytes);
    EXPECT_EQ(take<std::uint32_t>(bytes), masked(crc32c(length_bytes)));
    EXPECT_LE(length + 4, bytes.size());
    const std::string data = bytes.substr(0, length);
    bytes.erase(0, length);
    EXPECT_EQ(take<std::uint32_t>(bytes), masked(crc32c(data)));
    EXPECT_TRUE(events.emplace_back().ParseFromString(data));
  }
  return events;
}

std::map<std::string, float> values_of(const Event& event) {
  std::map<std::string, float> values;
  for (const auto& value : event.summary().value()) values[value.tag()] = value.simple_value();
  return values;
}

TEST(EventFile, HoldsWhatWasWritten) {
  const TemporaryFolder folder;
  {
    EventFile file(folder.path(), 0);
    StepMetrics step{.step = 7, .time = 1234.5, .loss = 2.5, .lr = 0.125, .grad_norm = HUGE_VAL, .skipped = true};
    step.norms = {{.role = Role::kHidden, .gradient = 3, .weight = 4}};
    step.sources = {{.name = "web", .rows = 9, .share = 0.75, .epochs = 1.5}};
    file.write(step);
    file.write(EvalMetrics{.step = 7, .loss = 3, .bits_per_byte = 1.25, .source_losses = {{"web", 2.75}}});
    file.write(CheckpointMetrics{.step = 7, .seconds = 0.5});
  }
  const auto names = names_in(folder.path());
  ASSERT_EQ(names.size(), 1u);
  EXPECT_THAT(names[0], MatchesRegex("events\\.out\\.tfevents\\.[0-9]+\\..+\\.[0-9]+\\.0"));
  const auto events = events_in(folder / names[0]);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_GT(events[0].wall_time(), 1.7e9);
  EXPECT_EQ(events[1].wall_time(), 1234.5);
  EXPECT_EQ(events[1].step(), 7);
  auto values = values_of(events[1]);
  EXPECT_EQ(values.at("train/loss"), 2.5f);
  EXPECT_EQ(values.at("train/lr"), 0.125f);
  EXPECT_EQ(values.at("train/grad_norm"), std::numeric_limits<float>::infinity());
  EXPECT_EQ(values.at("train/skipped"), 1);
  EXPECT_EQ(values.at(fmt::format("gradient_norm/{}", name_of(Role::kHidden))), 3);
  EXPECT_EQ(values.at("share/web"), 0.75f);
  EXPECT_EQ(values.at("epochs/web"), 1.5f);
  values = values_of(events[2]);
  EXPECT_EQ(values.at("eval/loss"), 3);
  EXPECT_EQ(values.at("eval/bits_per_byte"), 1.25f);
  EXPECT_EQ(values.at("eval_loss/web"), 2.75f);
  EXPECT_EQ(values_of(events[3]).at("seconds/checkpoint"), 0.5f);
}

TEST(EventFile, AResumeTakesBackWhatCameAfter) {
  const TemporaryFolder folder;
  EventFile(folder.path(), 0);
  EventFile(folder.path(), 20);  // in the same second: a file of its own
  const auto names = names_in(folder.path());
  ASSERT_EQ(names.size(), 2u);
  std::vector<Event> starts;
  for (const auto& name : names) {
    for (const Event& event : events_in(folder / name)) {
      if (event.has_session_log()) starts.push_back(event);
    }
  }
  ASSERT_EQ(starts.size(), 1u);
  EXPECT_EQ(starts[0].step(), 21);
  EXPECT_EQ(starts[0].session_log().status(), tensorboard::SessionLog::START);
}

TEST(EventFile, AFolderThatIsNotThere) {
  EXPECT_THAT(error_of([] { EventFile("/nowhere", 0); }), HasSubstr("/nowhere/events.out.tfevents."));
}

}  // namespace
}  // namespace mudelta::testing
