#include "launch/job/output_path.h"

#include <gmock/gmock.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::HasSubstr;

TEST(OutputPath, FilesAreNotReplaced) {
  const TemporaryFolder folder;
  const auto file = write_file(folder / "a", "");
  require_free_file(folder / "b", false);
  require_free_file("/dev/null", false);
  require_free_file(file, true);
  EXPECT_THAT(error_of([&] { require_free_file(file, false); }),
              HasSubstr("a exists already: expected a new name, or --force"));
  EXPECT_THAT(error_of([&] { require_free_file(folder.path(), true); }), HasSubstr("is a folder"));
}

TEST(OutputPath, FoldersThatHoldSomethingAreNotWrittenTo) {
  const TemporaryFolder folder;
  require_free_folder(folder.path(), false);
  require_free_folder(folder / "absent", false);
  const auto file = write_file(folder / "a", "");
  require_free_folder(folder.path(), false, {"a"});
  require_free_folder(folder.path(), true);
  EXPECT_THAT(error_of([&] { require_free_folder(folder.path(), false, {"b"}); }), HasSubstr("is not empty"));
  EXPECT_THAT(error_of([&] { require_free_folder(file, true); }), HasSubstr("a is not a folder"));
  EXPECT_THAT(error_of([&] { make_folder(file / "b"); }), HasSubstr("cannot create the folder"));
}

}  // namespace
}  // namespace mudelta::testing
