#include "launch/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/files/checksum.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "tests/launch/checkpoint/checkpoint_run.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kNoError = "no error was thrown";

class Manifest : public ::testing::Test {
 protected:
  void SetUp() override {
    CheckpointRun({.bucket_bytes = 64}).save(folder_.path(), 1);
    good_ = read_manifest(checkpoint());
  }
  std::filesystem::path checkpoint() const { return checkpoint_path(folder_.path(), 1); }

  std::string error_of_reading() {
    return error_of([&] { CheckpointReader reader(checkpoint()); });
  }
  // After `change` to the manifest that was written.
  template <class Change>
  std::string error_after(Change change) {
    CheckpointManifest manifest = good_;
    change(manifest);
    write_manifest(checkpoint(), manifest);
    return error_of_reading();
  }
  // After `change` to the segments of its file.
  template <class Change>
  std::string error_after_segments(Change change) {
    return error_after([&](CheckpointManifest& manifest) { change(*manifest.mutable_files(0)->mutable_segments()); });
  }
  // As a manifest, with the checksum that is right for it.
  void write_text(const std::string& text) {
    const std::string checksum = xxh64_of(std::as_bytes(std::span(text)));
    write_file(checkpoint() / kManifestName,
               "# mudelta checkpoint manifest; xxh64 of the lines below: " + checksum + "\n" + text);
  }

  TemporaryFolder folder_;
  CheckpointManifest good_;
};

TEST_F(Manifest, OfAnotherVersionIsToldByItsVersion) {
  EXPECT_THAT(error_after([](CheckpointManifest& manifest) { manifest.set_format_version(2); }),
              HasSubstr("has format version 2, expected 1"));
  // Whatever else it says.
  write_text("format_version: 2\nnew_field { kind: NEW values: [1, 2] }\nranks: 1\n");
  EXPECT_THAT(error_of_reading(), HasSubstr("has format version 2, expected 1"));
}

TEST_F(Manifest, ErrorsInItsTextAreOurs) {
  ::testing::internal::CaptureStderr();
  write_text("format_version: 1\nrank: 1\n");
  EXPECT_THAT(error_of_reading(),
              HasSubstr("manifest.textproto:3:1: CheckpointManifest has no field `rank`; did you mean `ranks`?"));
  write_text("format_version: }");
  EXPECT_THAT(error_of_reading(), HasSubstr("has format version 0, expected 1"));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST_F(Manifest, SegmentsMustLeaveNoGapAndNotOverlap) {
  EXPECT_EQ(error_after([](CheckpointManifest&) {}), kNoError);
  EXPECT_THAT(error_after_segments([](auto& segments) { segments.DeleteSubrange(0, 1); }),
              AllOf(HasSubstr(checkpoint().string()), HasSubstr("weight of layers.")));
  EXPECT_THAT(error_after_segments([](auto& segments) { *segments.Add() = segments.Get(1); }),
              HasSubstr("exp_avg of layers."));
  EXPECT_THAT(error_after_segments([](auto& segments) { segments.Mutable(0)->set_begin(1); }),
              HasSubstr("begins at element"));
  EXPECT_THAT(error_after_segments([](auto& segments) { segments.Clear(); }),
              HasSubstr("0 elements are stored, expected 35"));
}

TEST_F(Manifest, SegmentsMustBeOfItsParameters) {
  EXPECT_THAT(error_after_segments([](auto& segments) {
                CheckpointSegment& added = *segments.Add();
                added = segments.Get(0);
                added.set_parameter("absent");
              }),
              HasSubstr("there is no parameter absent"));
  EXPECT_THAT(error_after_segments([](auto& segments) {
                CheckpointSegment& added = *segments.Add();
                added = segments.Get(0);
                added.set_begin(-5);
                added.set_numel(5);
              }),
              HasSubstr("5 elements from -5, expected some of the"));
  EXPECT_THAT(error_after_segments([](auto& segments) { segments.Mutable(0)->set_numel(INT64_MAX); }),
              HasSubstr("9223372036854775807 elements from"));
}

TEST_F(Manifest, ParametersMustBeTensors) {
  const auto error_with_shape = [&](std::vector<std::int64_t> sizes) {
    return error_after([&](CheckpointManifest& manifest) {
      manifest.mutable_parameters(0)->mutable_shape()->Assign(sizes.begin(), sizes.end());
    });
  };
  EXPECT_THAT(error_with_shape({-7, -5}), AllOf(HasSubstr(checkpoint().string()), HasSubstr("dimension 0 is -7")));
  EXPECT_THAT(error_with_shape({std::int64_t{1} << 40, std::int64_t{1} << 40}), HasSubstr("too much to be counted"));
  EXPECT_THAT(error_after([](CheckpointManifest& manifest) {
                manifest.mutable_parameters(1)->set_name(manifest.parameters(0).name());
              }),
              HasSubstr("two parameters are named layers.0.weight"));
}

TEST_F(Manifest, FilesMustLieInItsFolder) {
  for (const char* name : {"", ".", "..", "../shard", "/etc/passwd", "sub/shard", "shard/"}) {
    EXPECT_THAT(error_after([&](CheckpointManifest& manifest) { manifest.mutable_files(0)->set_name(name); }),
                HasSubstr(fmt::format("a file is called `{}`, expected the name of a file in the same folder", name)));
  }
  EXPECT_THAT(error_after([](CheckpointManifest& manifest) { *manifest.add_files() = manifest.files(0); }),
              HasSubstr("two files are called shard-00000-of-00001.safetensors"));
}

}  // namespace
}  // namespace mudelta::testing
