// Runs that start from the weights of another one, through the program.

#include <gmock/gmock.h>

#include <string>

#include "tests/support/training_run.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class InitialWeightsRuns : public TrainingFixture {
 protected:
  static void SetUpTestSuite() {
    TrainingFixture::SetUpTestSuite();
    ASSERT_EQ(train(1, "first", "--set parametrization.base_width=16").exit_code, 0);
    write_file(path("next.textproto"), R"(
        train { steps: 1 global_batch: 12 sequence_length: 48 }
        optimizer { adamw { lr: 1e-9 } }
        parallel { bucket_mib: 0.02 })");
  }

  // One step that changes next to nothing, from the weights of `first`.
  static Outcome go_on(int ranks, const std::string& run, const std::string& more = "") {
    return mpirun(ranks, "train " + path("next.textproto") + " --set data.path=" + path("data") + " --out " +
                             path(run) + " --init-from " + path("first") + " " + more);
  }
};

TEST_F(InitialWeightsRuns, AreTheSameModelInEveryLayoutAndParametrization) {
  const double expected = final_validation_loss("first");
  struct Case {
    int ranks;
    std::string settings;
  };
  const std::string same = "--set parametrization.base_width=16 ";
  const std::vector<Case> cases = {{1, same},
                                   {3, same},
                                   {2, same + "--set parallel.tensor=2"},
                                   {4, same + "--set parallel.tensor=2 --set parallel.sequence_parallel=false"},
                                   {2, same + "--set parallel.context=2"},
                                   {1, "--set parametrization.kind=SP"},
                                   {2, "--set parametrization.base_width=8 --set parallel.tensor=2"}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(cases[i].settings);
    const std::string run = "layout" + std::to_string(i);
    const Outcome outcome = go_on(cases[i].ranks, run, cases[i].settings);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_THAT(outcome.output, HasSubstr("starts from the weights in " + path("first/checkpoints/step-00000020")));
    EXPECT_NEAR(final_validation_loss(run), expected, 1e-5);
  }
}

TEST_F(InitialWeightsRuns, HaveAnotherModelOnlyIfTheWeightsDo) {
  EXPECT_THAT(go_on(1, "wide", "--set model.width=64").output,
              AllOf(HasSubstr("first/checkpoints/step-00000020"), HasSubstr("model.width: 32 -> 64")));
  EXPECT_THAT(names_in(path("wide")), ::testing::IsEmpty());
  const Outcome printed =
      mudelta("train " + path("next.textproto") + " --init-from " + path("first") + " --print-config=model.mlp_size");
  EXPECT_THAT(printed.output, HasSubstr("mlp_size: 48"));
  EXPECT_EQ(
      mudelta("train " + path("next.textproto") + " --init-from " + path("data") + " --out " + path("none")).exit_code,
      2);
}

TEST_F(InitialWeightsRuns, AreThoseOfOtherProgramsToo) {
  const double expected = final_validation_loss("first");
  for (const std::string format : {"fla", "qwen3_5", "mudelta"}) {
    SCOPED_TRACE(format);
    const std::string folder = path("export-" + format), imported = path("import-" + format);
    const Outcome exported = mudelta("export " + path("first") + " --format " + format + " --out " + folder);
    ASSERT_EQ(exported.exit_code, 0) << exported.output;
    const Outcome outcome =
        mpirun(2, "train " + path("next.textproto") + " --set data.path=" + path("data") + " --out " +
                      path("from-" + format) + " --init-from " + folder + " --set parallel.tensor=2");
    ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
    EXPECT_NEAR(final_validation_loss("from-" + format), expected, 1e-5);

    std::string checkpoint = folder;
    if (format != "mudelta") {
      const Outcome import = mudelta("import " + folder + " --out " + imported);
      ASSERT_EQ(import.exit_code, 0) << import.output;
      checkpoint = imported;
    }
    const Outcome evaluated =
        mudelta("eval --checkpoint " + checkpoint + " --data " + path("data") + " --sequence-length 48");
    ASSERT_THAT(evaluated.output, HasSubstr("loss  "));
    EXPECT_NEAR(std::stod(evaluated.output.substr(evaluated.output.find("loss  ") + 4)), expected, 1e-5);
    EXPECT_EQ(mudelta("generate --checkpoint " + checkpoint + " --prompt the --tokens 3").exit_code, 0);
  }
  const Outcome again = mudelta("export " + path("first") + " --format fla --out " + path("export-fla"));
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.output, HasSubstr("--force"));
  EXPECT_EQ(mudelta("import " + path("data") + " --out " + path("nothing")).exit_code, 2);
  EXPECT_THAT(names_in(path("nothing")), ::testing::IsEmpty());
}

TEST_F(InitialWeightsRuns, ResumeFromTheirOwnCheckpoints) {
  const std::string settings = "--set optimizer.adamw.lr=1e-2 --set train.steps=3 ";
  ASSERT_EQ(go_on(2, "again", settings).exit_code, 0);
  const Outcome outcome = go_on(2, "again", settings + "--resume --set train.steps=6");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, AllOf(HasSubstr("goes on from step 3"), ::testing::Not(HasSubstr("starts from"))));
  EXPECT_EQ(losses("again").size(), 6u);
}

}  // namespace
}  // namespace mudelta::testing
