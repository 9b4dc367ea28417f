#include "launch/train/bad_steps.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <vector>

namespace mudelta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(RobustZScore, IsByTheDefinition) {
  // Median 3; distances 2, 1, 0, 1, 97: their median is 1.
  EXPECT_DOUBLE_EQ(robust_z_score(std::vector<double>{1, 2, 3, 4, 100}, 3 + 2 * 1.4826), 2);
  // Median 2.5; distances 1.5, .5, .5, 1.5: 1.
  EXPECT_DOUBLE_EQ(robust_z_score(std::vector<double>{4, 1, 3, 2}, 2.5 - 1.4826), -1);
  // No spread at all: a thousandth of the median.
  EXPECT_NEAR(robust_z_score(std::vector<double>{2, 2, 2}, 2.01), 5, 1e-9);
}

class BadStepsTest : public ::testing::Test {
 protected:
  BadStepsTest() {
    config_.set_spike_window(8);
    config_.set_spike_threshold(6);
  }
  void note(double loss) { note_good_loss(loss, config_, state_); }
  std::string fault(double loss, double norm = 1) const { return fault_of_step(loss, norm, config_, state_); }

  TrainConfig config_;
  TrainingState state_;
};

TEST_F(BadStepsTest, NumbersThatAreNotFiniteAreBadFromTheFirstStepOn) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(fault(bad), HasSubstr("not finite"));
    EXPECT_THAT(fault(1, bad), HasSubstr("not finite"));
  }
}

TEST_F(BadStepsTest, ASpikeIsJudgedByAFullWindowOfGoodSteps) {
  for (int i = 0; i < 7; ++i) note(3 + 0.1 * i);
  EXPECT_EQ(fault(100), "") << "too few steps";
  note(3.7);  // median 3.35, median distance .2
  EXPECT_THAT(fault(100), HasSubstr("a loss spike (loss 100, 325.9 robust standard deviations"));
  EXPECT_EQ(fault(3.35 + 5.9 * 1.4826 * 0.2), "");
  EXPECT_NE(fault(3.35 + 6.1 * 1.4826 * 0.2), "");
  EXPECT_EQ(fault(0.1), "") << "a low loss is no spike";
  config_.set_spike_threshold(0);
  EXPECT_EQ(fault(100), "");
}

TEST_F(BadStepsTest, TheWindowHoldsTheNewestLosses) {
  for (int i = 0; i < 20; ++i) note(i);
  EXPECT_THAT(state_.recent_losses(), ElementsAre(12, 13, 14, 15, 16, 17, 18, 19));
  config_.set_spike_window(9);
  EXPECT_EQ(fault(1000), "") << "a longer window has to fill up";
}

}  // namespace
}  // namespace mudelta
