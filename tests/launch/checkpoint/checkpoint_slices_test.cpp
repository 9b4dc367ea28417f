// Checkpoints of ranks that hold slices of the parameters. The ranks are made up: each has its store in this process,
// and what a collective save would do is done for one after the other.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/checkpoint_shard.h"
#include "launch/checkpoint/manifest.h"
#include "tests/launch/checkpoint/checkpoint_run.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint64_t kSalt = 6;

// How one parameter lies on the ranks of a tensor group: slice i of `dim` goes from bounds[i] to bounds[i + 1], and
// each is held by equally many neighbours.
struct Cut {
  int dim = -1;
  std::vector<std::int64_t> bounds = {0, 0};
};

struct Layout {
  std::string name;
  int num_ranks = 1;
  std::vector<Cut> cuts = {};  // of the shapes of CheckpointRunOptions; none: all are whole, and replicated
  std::int64_t bucket_bytes = 1 << 20;
  DType compute_dtype = DType::kFloat32;
};

CheckpointRunOptions options_of(const Layout& layout, int rank) {
  CheckpointRunOptions options = {.compute_dtype = layout.compute_dtype, .bucket_bytes = layout.bucket_bytes};
  for (std::size_t i = 0; i < options.shapes.size(); ++i) {
    const Cut cut = layout.cuts.empty() ? Cut() : layout.cuts[i];
    const auto num_slices = static_cast<int>(cut.bounds.size()) - 1;
    const int copies = layout.num_ranks / num_slices;
    const auto slice = static_cast<std::size_t>(rank / copies);
    options.parts.push_back(
        {.slice = {cut.dim, cut.bounds[slice], cut.bounds[slice + 1]}, .copies = copies, .copy = rank % copies});
  }
  return options;
}

// Returns the checkpoint that the ranks of `layout` write.
fs::path save(const fs::path& run_dir, const Layout& layout) {
  CheckpointRun(CheckpointRunOptions()).save(run_dir, kSalt);  // its manifest; the rest is replaced
  const fs::path checkpoint = checkpoint_path(run_dir, kSalt);
  CheckpointManifest manifest = read_manifest(checkpoint);
  fs::remove(checkpoint / manifest.files(0).name());
  manifest.clear_files();
  manifest.set_ranks(layout.num_ranks);
  for (int rank = 0; rank < layout.num_ranks; ++rank) {
    CheckpointRun run(options_of(layout, rank));
    run.fill(kSalt);
    *manifest.add_files() =
        write_shard(checkpoint, live_shard(run.store, run.optimizer.segments(), rank, layout.num_ranks));
  }
  write_manifest(checkpoint, manifest);
  return checkpoint;
}

// Every rank of `layout` finds its elements, for training and for inference.
::testing::AssertionResult loads(const fs::path& checkpoint, const Layout& layout) {
  for (int rank = 0; rank < layout.num_ranks; ++rank) {
    CheckpointRun run(options_of(layout, rank)), inference(options_of(layout, rank));
    run.load(checkpoint);
    if (auto same = run.holds(kSalt); !same) return same << ", rank " << rank;
    load_weights(CheckpointReader(checkpoint), inference.store);
    if (auto same = inference.values_are(kSalt); !same) return same << ", rank " << rank << ", weights alone";
  }
  return ::testing::AssertionSuccess();
}

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> layouts = {
      {.name = "whole"},
      {.name = "whole in small buckets", .bucket_bytes = 200},
      {.name = "replicated", .num_ranks = 3, .bucket_bytes = 300},
      {.name = "dimension 0",
       .num_ranks = 2,
       .cuts = {{0, {0, 4, 7}}, {0, {0, 8, 16}}, {0, {0, 2, 3}}, {0, {0, 1, 1}}, {0, {0, 1, 2}}}},
      {.name = "dimension 1, uneven and empty parts",
       .num_ranks = 3,
       .cuts = {{1, {0, 0, 4, 5}}, {1, {0, 7, 7, 12}}, {0, {0, 3, 3, 3}}, {0, {0, 0, 0, 1}}, {1, {0, 2, 3, 3}}},
       .bucket_bytes = 128},
      {.name = "dimension 2, bfloat16",
       .num_ranks = 4,
       .cuts = {{0, {0, 1, 2, 3, 7}}, {1, {0, 3, 6, 9, 12}}, {}, {}, {2, {0, 10, 20, 30, 31}}},
       .bucket_bytes = 256,
       .compute_dtype = DType::kBFloat16},
      {.name = "two copies of each slice",
       .num_ranks = 4,
       .cuts = {{0, {0, 3, 7}}, {1, {0, 6, 12}}, {0, {0, 1, 2, 3, 3}}, {}, {2, {0, 16, 31}}}},
  };
  return layouts;
}

TEST(SlicedCheckpoint, AnyLayoutReadsWhatAnyOtherWrote) {
  for (const Layout& writer : layouts()) {
    const TemporaryFolder folder;
    const fs::path checkpoint = save(folder.path(), writer);
    for (const Layout& reader : layouts()) {
      EXPECT_TRUE(loads(checkpoint, reader)) << "written by " << writer.name << ", read by " << reader.name;
    }
  }
}

Layout some_layout() {
  Layout layout;
  layout.num_ranks = *rc::gen::element(1, 2, 3, 4, 6);
  layout.bucket_bytes = *rc::gen::element(64, 200, 1000, 1 << 20);
  layout.compute_dtype = *rc::gen::element(DType::kFloat32, DType::kBFloat16);
  for (const Shape& shape : CheckpointRunOptions().shapes) {
    Cut cut;
    cut.dim = *rc::gen::inRange(-1, shape.rank());
    if (cut.dim != -1) {
      const int num_slices = *rc::gen::suchThat(rc::gen::inRange(1, layout.num_ranks + 1),
                                                [&](int slices) { return layout.num_ranks % slices == 0; });
      cut.bounds = *rc::gen::container<std::vector<std::int64_t>>(
          static_cast<std::size_t>(num_slices) + 1, rc::gen::inRange<std::int64_t>(0, shape[cut.dim] + 1));
      std::ranges::sort(cut.bounds);
      cut.bounds.front() = 0;
      cut.bounds.back() = shape[cut.dim];
    }
    layout.cuts.push_back(cut);
  }
  return layout;
}

RC_GTEST_PROP(SlicedCheckpoint, AnyCutReadsWhatAnyOtherWrote, ()) {
  const TemporaryFolder folder;
  const fs::path checkpoint = save(folder.path(), some_layout());
  const auto loaded = loads(checkpoint, some_layout());
  if (!loaded) RC_FAIL(loaded.message());
}

TEST(SlicedCheckpoint, KeysSayTheSlice) {
  const TemporaryFolder folder;
  const fs::path checkpoint =
      save(folder.path(), {.num_ranks = 4, .cuts = {{1, {0, 3, 5}}, {}, {0, {0, 2, 3}}, {}, {}}, .bucket_bytes = 64});
  const CheckpointReader reader(checkpoint);
  std::vector<std::string> keys;
  for (const CheckpointFile& file : reader.manifest().files()) {
    for (const CheckpointSegment& segment : file.segments()) {
      if (segment.parameter() == "layers.0.weight" && segment.state() != "exp_avg_sq") keys.push_back(segment.key());
    }
  }
  // Buckets of 16 elements run from the end; the second and fourth rank hold copies.
  EXPECT_THAT(keys, ElementsAre("layers.0.weight@dim1[0:3][16:21]", "layers.0.weight#exp_avg@dim1[0:3][16:21]",
                                "layers.0.weight@dim1[0:3][0:16]", "layers.0.weight#exp_avg@dim1[0:3][0:16]",
                                "layers.0.weight@dim1[3:5]", "layers.0.weight#exp_avg@dim1[3:5]"));
  EXPECT_EQ(SafetensorsFile(checkpoint / reader.manifest().files(2).name()).find("layers.0.weight@dim1[3:5]").shape,
            (Shape{7, 2}));
  EXPECT_EQ(reader.manifest().files(1).segments_size(), 0);
}

TEST(SlicedCheckpoint, AMissingOrASecondCopyOfASliceIsSeen) {
  const TemporaryFolder folder;
  const fs::path checkpoint = save(folder.path(), layouts()[3]);
  CheckpointManifest manifest = read_manifest(checkpoint);
  manifest.mutable_files()->RemoveLast();
  write_manifest(checkpoint, manifest);
  EXPECT_THAT(error_of([&] { CheckpointReader reader(checkpoint); }), HasSubstr("the slices end at index"));
  const TemporaryFolder other;
  manifest = read_manifest(save(other.path(), layouts()[3]));
  *manifest.add_files() = manifest.files(1);
  manifest.mutable_files(2)->set_name("another.safetensors");
  write_manifest(checkpoint, manifest);
  EXPECT_THAT(error_of([&] { CheckpointReader reader(checkpoint); }), HasSubstr("a segment begins at element 0"));
}

TEST(SlicedCheckpoint, AWeightThatIsNotFiniteIsNamedByItsPlaceInTheWhole) {
  const TemporaryFolder folder;
  CheckpointRun run({.shapes = {{4, 6}}});
  run.save(folder.path(), 1);
  run.store.parameters()[0].value.data<float>()[9] = INFINITY;
  save_checkpoint(folder.path(), run.context(), CheckpointRun::state_of(2), run.optimizer, run.group);
  CheckpointRun sliced({.shapes = {{4, 6}}, .parts = {{.slice = {1, 3, 6}}}});
  EXPECT_THAT(error_of([&] { load_weights(CheckpointReader(checkpoint_path(folder.path(), 2)), sliced.store); }),
              HasSubstr("element 9 of layers.0.weight is inf"));
}

}  // namespace
}  // namespace mudelta::testing
