#include "launch/job/progress.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "launch/job/terminal.h"

namespace mudelta {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A file to write to and a clock to set.
struct Stage {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::tmpfile(), std::fclose};
  double now = 100;

  std::FILE* out() { return file.get(); }
  ProgressOptions options(int columns) {
    ProgressOptions options;
    options.columns = columns;
    options.clock = [this] { return now; };
    return options;
  }
  std::string written() {
    std::fflush(out());
    std::string text(static_cast<std::size_t>(std::ftell(out())), '\0');
    std::rewind(out());
    EXPECT_EQ(std::fread(text.data(), 1, text.size(), out()), text.size());
    return text;
  }
};

TEST(PlainProgress, WritesALineAfterEachTenthOfTheWork) {
  Stage stage;
  Progress progress(stage.out(), "train", 1000, 0, stage.options(0));
  for (int step = 1; step <= 1000; ++step) {
    stage.now += 0.001;
    progress.update(step, "loss 2.5");
  }
  progress.finish("loss 2.5");
  const std::string text = stage.written();
  EXPECT_EQ(std::ranges::count(text, '\n'), 10);
  EXPECT_THAT(text, StartsWith("train  10%  loss 2.5  0:01 left\ntrain  20%  loss 2.5  0:01 left\n"));
  EXPECT_THAT(text, EndsWith("train  90%  loss 2.5  0:00 left\ntrain done  loss 2.5  in 0:01\n"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
}

TEST(PlainProgress, WritesALineEveryTenSecondsOfSlowWork) {
  Stage stage;
  Progress progress(stage.out(), "train", 1'000'000, 0, stage.options(0));
  for (int step = 1; step <= 100; ++step) {
    stage.now += 1;
    progress.update(step);
  }
  EXPECT_EQ(std::ranges::count(stage.written(), '\n'), 10);
}

TEST(PlainProgress, TimeLeftCountsOnlyThisProcessesWork) {
  Stage stage;
  Progress progress(stage.out(), "train", 1000, 800, stage.options(0));
  stage.now += 60;
  progress.update(900);
  EXPECT_EQ(stage.written(), "train  90%  1:00 left\n");
}

TEST(PlainProgress, PrintedLinesStandBetween) {
  Stage stage;
  Progress progress(stage.out(), "train", 10, 0, stage.options(0));
  progress.print("validation loss 3");
  progress.finish();
  progress.finish();
  EXPECT_EQ(stage.written(), "validation loss 3\ntrain done  in 0:00\n");
}

TEST(PlainProgress, TheLastLineIsLeftToFinish) {
  Stage stage;
  Progress progress(stage.out(), "train", 10, 0, stage.options(0));
  progress.update(10, "loss 2.5");
  progress.finish();
  EXPECT_EQ(stage.written(), "train done  in 0:00\n");
}

TEST(PlainProgress, EmptyWorkIsNoTrouble) {
  Stage stage;
  Progress progress(stage.out(), "prepare", 0, 0, stage.options(0));
  progress.update(0);
  progress.finish();
  EXPECT_EQ(stage.written(), "prepare done  in 0:00\n");
}

TEST(LiveProgress, RedrawsOneLineAtMostTenTimesASecond) {
  Stage stage;
  Progress progress(stage.out(), "train", 1000, 0, stage.options(80));
  for (int step = 1; step <= 1000; ++step) {
    stage.now += 0.01;
    progress.update(step);
  }
  progress.finish();
  const std::string text = stage.written();
  const auto redraws = std::ranges::count(text, '\r');
  EXPECT_GE(redraws, 80);
  EXPECT_LE(redraws, 102);
  EXPECT_EQ(std::ranges::count(text, '\n'), 1);
  EXPECT_THAT(text, EndsWith("\r\x1b[Ktrain done  in 0:10\n"));
}

TEST(LiveProgress, FitsTheTerminal) {
  for (const int columns : {2, 20, 40, 80, 200}) {
    Stage stage;
    Progress progress(stage.out(), "train", 100, 0, stage.options(columns));
    stage.now += 10;
    progress.update(50, "loss 3.21  10000 tokens/s");
    const std::string line = stage.written().substr(std::string("\r\x1b[K").size());
    EXPECT_LT(line.size(), static_cast<std::size_t>(columns));
    if (columns == 80) {
      EXPECT_EQ(line, "train [##############.............]  50%  loss 3.21  10000 tokens/s  0:10 left");
    }
  }
}

TEST(LiveProgress, NarrowTerminalsKeepTheTimeLeft) {
  const auto line_of = [](int columns) {
    Stage stage;
    Progress progress(stage.out(), "train", 100, 0, stage.options(columns));
    stage.now += 10;
    progress.update(50, "step 50/100  loss 3.21  10000 tokens/s");
    return stage.written().substr(std::string("\r\x1b[K").size());
  };
  EXPECT_EQ(line_of(70), "train   50%  step 50/100  loss 3.21  10000 tokens/s  0:10 left");
  EXPECT_EQ(line_of(60), "train   50%  step 50/100  loss 3.21  0:10 left");
  EXPECT_EQ(line_of(40), "train   50%  step 50/100  0:10 left");
  EXPECT_EQ(line_of(30), "train   50%  0:10 left");
  EXPECT_EQ(line_of(20), " 50%  0:10 left");
}

TEST(LiveProgress, FollowsTheWidthOfTheTerminal) {
  Stage stage;
  int columns = 80;
  ProgressOptions options = stage.options(columns);
  options.measure_columns = [&] { return columns; };
  Progress progress(stage.out(), "train", 100, 0, options);
  stage.now += 10;
  progress.update(50, "loss 3.21");
  EXPECT_THAT(stage.written(), HasSubstr("train [####"));
  columns = 30;
  stage.now += 10;
  progress.update(60, "loss 3.21");
  EXPECT_THAT(stage.written(), EndsWith("\r\x1b[Ktrain   60%  0:13 left"));
}

TEST(LiveProgress, AnUnfinishedLineIsEnded) {
  Stage stage;
  { Progress(stage.out(), "train", 10, 0, stage.options(80)).update(5); }
  EXPECT_THAT(stage.written(), EndsWith("\n"));
}

TEST(LiveProgress, PrintedLinesReplaceTheLiveOneWhichIsDrawnAgain) {
  Stage stage;
  Progress progress(stage.out(), "train", 10, 0, stage.options(80));
  progress.update(5);
  progress.print("validation loss 3");
  EXPECT_THAT(stage.written(), HasSubstr("\r\x1b[Kvalidation loss 3\n\r\x1b[Ktrain ["));
}

TEST(FormatDuration, GrowsWithTheTime) {
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(754), "12:34");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(360000), "100:00:00");
  EXPECT_EQ(format_duration(-1), "0:00");
}

TEST(Terminal, AFileIsNone) {
  Stage stage;
  EXPECT_EQ(terminal_columns(stage.out()), 0);
}

}  // namespace
}  // namespace mudelta
