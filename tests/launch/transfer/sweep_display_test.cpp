#include "launch/transfer/sweep/sweep_display.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace mudelta {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What a terminal of so many columns gets when the first of two runs has taken ten seconds.
std::string drawn_at(int columns) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
  const SweepRun first{.width = 64, .lr = 1e-3, .seed = 1}, second{.width = 128, .lr = 1e-3, .seed = 1};
  double now = 0;
  SweepDisplay display(file.get(), {first, second}, {1, 3},
                       {.columns = 200, .measure_columns = [=] { return columns; }, .clock = [&] { return now; }});
  display.start({});
  now = 10;
  const std::vector<SweepResult> results = {{.run = first, .loss = 2.5}};
  display.update(results);
  display.working("width 128");
  std::string text(static_cast<std::size_t>(std::ftell(file.get())), '\0');
  std::rewind(file.get());
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file.get()), text.size());
  return text;
}

TEST(SweepDisplay, KeepsTheTimeLeftOnANarrowTerminal) {
  EXPECT_THAT(drawn_at(80), HasSubstr("sweep [#######.......................] 1/2 runs, 0:30 left\n"));
  EXPECT_THAT(drawn_at(45), HasSubstr("sweep [####............] 1/2 runs, 0:30 left\n"));
  EXPECT_THAT(drawn_at(30), HasSubstr("sweep 1/2 runs, 0:30 left\n"));
  EXPECT_THAT(drawn_at(30), Not(HasSubstr("0.001\n")));
}

}  // namespace
}  // namespace mudelta
