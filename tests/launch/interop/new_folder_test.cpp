#include "launch/interop/new_folder.h"

#include <gmock/gmock.h>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void make(const std::filesystem::path& path, bool force, const std::string& text) {
  NewFolder folder(path, force);
  write_file(folder.temporary() / "model.safetensors", text);
  folder.commit();
}

TEST(NewFolder, TakesItsNameWhenItIsWhole) {
  const TemporaryFolder root;
  const std::filesystem::path path = root / "a/model/";  // with what is above it
  {
    const NewFolder folder(path, false);
    write_file(folder.temporary() / "config.json", "{}");
    EXPECT_FALSE(std::filesystem::exists(path));
    EXPECT_EQ(folder.temporary().parent_path(), root / "a");
  }
  EXPECT_THAT(names_in(root / "a"), IsEmpty());
  make(path, false, "one");
  EXPECT_THAT(names_in(root / "a"), ElementsAre("model"));
  EXPECT_THAT(names_in(path), ElementsAre("model.safetensors"));
  std::filesystem::create_directory(root / "empty");
  make(root / "empty", false, "one");
  EXPECT_THAT(names_in(root / "empty"), ElementsAre("model.safetensors"));
}

TEST(NewFolder, ReplacesAModelIfItIsToldTo) {
  const TemporaryFolder root;
  make(root / "model", false, "one");
  write_file(root / "model/config.json", "{}");
  EXPECT_THAT(error_of([&] { make(root / "model", false, "two"); }), HasSubstr("is not empty"));
  make(root / "model", true, "two");
  EXPECT_THAT(names_in(root / "model"), ElementsAre("model.safetensors"));
  EXPECT_EQ(read_file(root / "model/model.safetensors"), "two");
  EXPECT_THAT(names_in(root.path()), ElementsAre("model"));
}

TEST(NewFolder, NeverReplacesAnythingElse) {
  const TemporaryFolder root;
  std::filesystem::create_directory(root / "home");
  write_file(root / "home/notes.txt", "mine");
  EXPECT_THAT(error_of([&] { make(root / "home", true, "two"); }),
              AllOf(HasSubstr("home holds no .safetensors file"), HasSubstr("--force replaces")));
  write_file(root / "home/model.safetensors", "");
  std::filesystem::create_directory(root / "home/more");
  EXPECT_THAT(error_of([&] { make(root / "home", true, "two"); }), HasSubstr("home holds more"));
  EXPECT_THAT(names_in(root / "home"), ElementsAre("model.safetensors", "more", "notes.txt"));
  write_file(root / "file", "");
  EXPECT_THAT(error_of([&] { make(root / "file", true, "two"); }), HasSubstr("is not a folder"));
  EXPECT_THAT(error_of([&] { make(root / "file/model", true, "two"); }), HasSubstr("file"));
  EXPECT_THAT(names_in(root.path()), ElementsAre("file", "home"));
}

}  // namespace
}  // namespace mudelta::testing
