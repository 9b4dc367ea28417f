#include "launch/job/heartbeat.h"

#include <gmock/gmock.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Heartbeat, RenewsItsFile) {
  const TemporaryFolder folder;
  const auto file = write_file(folder / "rank", "");
  const auto long_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(1);
  std::filesystem::last_write_time(file, long_ago);
  const Heartbeat heartbeat(file);
  while (std::filesystem::last_write_time(file) == long_ago) std::this_thread::yield();
}

TEST(HeartbeatWatch, NamesTheOneThatIsSilentForTheLimit) {
  const TemporaryFolder folder;
  const auto a = write_file(folder / "a", ""), b = write_file(folder / "b", "");
  HeartbeatWatch watch({{"rank 0", a}, {"rank 1", b}}, 10);
  const auto beat = [&](const std::filesystem::path& file, int second) {
    std::filesystem::last_write_time(file, std::filesystem::file_time_type(std::chrono::seconds(second)));
  };
  for (int second = 0; second < 100; second += 4) {
    beat(a, second);
    if (second % 8 == 0) beat(b, second);  // every second time: silent for 4 seconds at most
    watch.look(4);
  }
  beat(a, 101);
  watch.look(5);
  beat(a, 102);
  EXPECT_THAT(error_of([&] { watch.look(5); }),
              AllOf(HasSubstr("rank 1 has given no sign of life for 10 s"), HasSubstr("b any more")));
}

TEST(HeartbeatWatch, WithoutALimitWaitsForEver) {
  HeartbeatWatch watch({{"rank 0", "/nowhere"}}, 0);
  for (int i = 0; i < 3; ++i) watch.look(1e6);
}

}  // namespace
}  // namespace mudelta::testing
