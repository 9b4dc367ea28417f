#include "launch/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

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

// layers.1.weight, [16, 12], with other segments of its weight: the first `numel` elements of each of some slices.
class SlicedManifest : public Manifest {
 protected:
  std::string error_with_slices(const std::vector<ParameterSlice>& slices, std::int64_t numel = 32) {
    return error_after([&](CheckpointManifest& manifest) {
      auto& segments = *manifest.mutable_files(0)->mutable_segments();
      const auto is_replaced = [](const CheckpointSegment& segment) {
        return segment.parameter() == "layers.1.weight" && segment.state() == "weight";
      };
      segments.erase(std::remove_if(segments.begin(), segments.end(), is_replaced), segments.end());
      for (const auto& [dim, begin, end] : slices) {
        CheckpointSegment& segment = *segments.Add();
        segment.set_parameter("layers.1.weight");
        segment.set_state("weight");
        segment.set_begin(0);
        segment.set_numel(numel);
        segment.set_key("sliced");
        if (dim != -1) segment.set_slice_dim(dim);
        segment.set_slice_begin(begin);
        segment.set_slice_end(end);
      }
    });
  }
};

TEST_F(SlicedManifest, SlicesMustCutOneDimension) {
  EXPECT_EQ(error_with_slices({{1, 2, 4}, {1, 0, 2}, {1, 4, 6}, {1, 6, 8}, {1, 10, 12}, {1, 8, 10}}), kNoError);
  EXPECT_EQ(error_with_slices({{-1, 0, 0}}, 192), kNoError);
  EXPECT_THAT(error_with_slices({{1, 0, 2}, {1, 4, 6}}),
              AllOf(HasSubstr(checkpoint().string()), HasSubstr("weight of layers.1.weight"),
                    HasSubstr("a slice begins at index 4 of dimension 1, expected 2")));
  EXPECT_THAT(error_with_slices({{1, 0, 2}, {1, 1, 3}}), HasSubstr("begins at index 1 of dimension 1, expected 2"));
  EXPECT_THAT(error_with_slices({{1, 0, 2}, {1, 0, 2}}), HasSubstr("a segment begins at element 0, expected 32"));
  EXPECT_THAT(error_with_slices({{1, 0, 2}}), HasSubstr("the slices end at index 2 of dimension 1, expected 12"));
  EXPECT_THAT(error_with_slices({{1, 0, 3}}), HasSubstr("indices 0 to 3 of dimension 1: 32 elements are stored, "
                                                        "expected 48"));
  EXPECT_THAT(error_with_slices({{0, 0, 4}, {1, 0, 2}}), HasSubstr("expected slices of one dimension"));
  EXPECT_THAT(error_with_slices({{-1, 0, 0}, {1, 0, 2}}), HasSubstr("expected slices of one dimension"));
}

TEST_F(SlicedManifest, SlicesMustBeOfTheirParameter) {
  constexpr std::int64_t kMost = INT64_MAX, kLeast = INT64_MIN;
  for (const ParameterSlice& slice : std::vector<ParameterSlice>{{1, 0, 13},
                                                                 {1, -1, 2},
                                                                 {1, 4, 2},
                                                                 {1, kLeast, kMost},
                                                                 {1, kMost, kLeast},
                                                                 {0, 0, kMost},
                                                                 {2, 0, 1},
                                                                 {6, 0, 1},
                                                                 {-2, 0, 1},
                                                                 {INT32_MAX, 0, 1},
                                                                 {INT32_MIN, 0, 1},
                                                                 {-1, 0, 2}}) {
    EXPECT_THAT(error_with_slices({slice}),
                HasSubstr(fmt::format("sliced: slice {{dim {}, begin {}, end {}}}, expected a part of [16, 12]",
                                      slice.dim, slice.begin, slice.end)));
  }
  EXPECT_THAT(error_with_slices({{1, 0, 2}}, 33), HasSubstr("33 elements from 0, expected some of the 32"));
  EXPECT_THAT(error_with_slices({{1, 5, 5}}, 1), HasSubstr("1 elements from 0, expected some of the 0"));
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
