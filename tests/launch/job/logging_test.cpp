#include "launch/job/logging.h"

#include <glog/logging.h>
#include <gmock/gmock.h>

#include "tests/support/files.h"

namespace mudelta {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::names_in;
using ::testing::Not;
using testing::read_file;
using testing::TemporaryFolder;

// One test: glog is set up once for a process.
TEST(Logging, OneFileARankHoldsEverythingAndStderrOnlyWarnings) {
  const TemporaryFolder folder;
  start_logging("launch_job_test");
  ::testing::internal::CaptureStderr();
  LOG(INFO) << "before any folder";
  log_to_folder(folder.path(), 3);
  LOG(INFO) << "a fact";
  LOG(WARNING) << "a warning";
  google::FlushLogFiles(google::GLOG_INFO);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), AllOf(HasSubstr("a warning"), Not(HasSubstr("a fact"))));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("rank-0003.log"));
  EXPECT_THAT(read_file(folder / "rank-0003.log"),
              AllOf(HasSubstr("a fact"), HasSubstr("a warning"), Not(HasSubstr("before any folder"))));
}

}  // namespace
}  // namespace mudelta
