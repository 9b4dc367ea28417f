// Commands other than `train` on the ranks of a layout, against one process.

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <string>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::HasSubstr;

class LayoutCommands : public TrainingFixture {
 protected:
  static Outcome coord_check(int ranks, const std::string& out, const std::string& more) {
    return mpirun(ranks, "coord-check " + path("run.textproto") + " --data " + path("data") + " --out " + path(out) +
                             " --widths 32,48,64 --steps 1,3 --seeds 1 --set train.global_batch=4 " +
                             "--set optimizer.adamw.lr=1e-3 " + more);
  }
  // What was measured, by everything that says what it is.
  static std::map<std::string, double> measurements(const std::string& out) {
    std::map<std::string, double> found;
    std::istringstream lines(read_file(path(out) + "/coord-check.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      auto record = nlohmann::json::parse(line);
      const double rms = record["rms"];
      record.erase("rms");
      EXPECT_TRUE(found.emplace(record.dump(), rms).second) << line;
    }
    return found;
  }
};

TEST_F(LayoutCommands, CoordCheckMeasuresTheSameInAnyLayout) {
  const Outcome one = coord_check(1, "alone", "");
  ASSERT_LE(one.exit_code, 1) << one.output;
  const auto expected = measurements("alone");
  ASSERT_GT(expected.size(), 100u);
  const std::pair<int, std::string> layouts[] = {{2, "--set parallel.tensor=2"},
                                                 {4, "--set parallel.tensor=2"},
                                                 {2, ""},
                                                 {4, "--set parallel.context=2 --set parallel.tensor=2"},
                                                 {2, "--set parallel.zero_stage=3"},
                                                 {4, "--set parallel.tensor=2 --set parallel.zero_stage=2"}};
  for (const auto& [ranks, settings] : layouts) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks " + settings);
    const Outcome outcome = coord_check(ranks, "layout", settings + " --force");
    ASSERT_EQ(outcome.exit_code, one.exit_code) << outcome.output;
    EXPECT_EQ(count(outcome.output, "after step 3"), count(one.output, "after step 3"));  // one rank prints
    const auto found = measurements("layout");
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [what, rms] : expected) EXPECT_NEAR(found.at(what), rms, 2e-3 * rms + 1e-9) << what;
  }
}

// How long things take is not tested.
TEST_F(LayoutCommands, BenchTimesStepsInALayout) {
  const std::string bench =
      "bench --no-kernels --no-rule --widths 64 --layers 1 --sequences 2 --sequence-length 16 --vocab-size 16 "
      "--seconds 0.001 ";
  const Outcome alone = mudelta(bench);
  ASSERT_EQ(alone.exit_code, 0) << alone.output;
  EXPECT_EQ(count(alone.output, "exposed"), 0) << alone.output;
  const Outcome layout = mpirun(4, bench + "--set parallel.tensor=2 --set parallel.zero_stage=3");
  ASSERT_EQ(layout.exit_code, 0) << layout.output;
  EXPECT_EQ(count(layout.output, "4 ranks = 2 data x 1 context x 2 tensor, over MPI"), 1) << layout.output;
  EXPECT_EQ(count(layout.output, "s/step: compute "), 1) << layout.output;
  EXPECT_EQ(count(layout.output, "; sent: data 0."), 1) << layout.output;
  EXPECT_EQ(count(layout.output, ", tensor 0."), 1) << layout.output;
  const Outcome uneven = mpirun(3, bench + "--set parallel.tensor=2");
  EXPECT_EQ(uneven.exit_code, 2);
  EXPECT_EQ(count(uneven.output, "mudelta: error: 3 ranks: expected a multiple of parallel.tensor 2"), 1)
      << uneven.output;
}

TEST_F(LayoutCommands, BadInputIsToldOnce) {
  const auto expect_told_once = [](const Outcome& outcome, const std::string& message) {
    EXPECT_EQ(outcome.exit_code, 2) << outcome.output;
    EXPECT_EQ(count(outcome.output, "mudelta: error: "), 1) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr(message));
    EXPECT_EQ(count(outcome.output, "MPI_ABORT"), 0) << outcome.output;
  };
  expect_told_once(coord_check(3, "bad", "--set parallel.tensor=2"),
                   "3 ranks: expected a multiple of parallel.tensor 2");
  expect_told_once(coord_check(3, "bad", "--set parallel.tensor=3 --set train.global_batch=3"),
                   "model.value_heads is 2: expected a multiple of parallel.tensor, 3");
  expect_told_once(coord_check(2, "bad", "--axis heads --set parallel.tensor=2"),  // at the width 48
                   "model.value_heads is 3: expected a multiple of parallel.tensor, 2");
  expect_told_once(coord_check(3, "bad", ""), "train.global_batch is 4: expected a multiple of the 3 data ranks");
}

}  // namespace
}  // namespace mudelta::testing
