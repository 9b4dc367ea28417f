// Saving and loading on several ranks; run under mpirun -n 2, 3 and 4.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dist/process_group.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "launch/checkpoint/manifest.h"
#include "tests/launch/checkpoint/checkpoint_run.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One folder for all ranks of the world.
class SharedFolder {
 public:
  SharedFolder() {
    if (world_.rank() == 0) owned_.emplace();
    path_ = world_.all_gather(owned_ ? owned_->path().string() : "")[0];
  }
  ~SharedFolder() { world_.barrier(); }

  const fs::path& path() const { return path_; }
  // What the checkpoints folder holds once every rank has come here.
  std::vector<std::string> checkpoint_names() const {
    world_.barrier();
    return names_in(path_ / "checkpoints");
  }

 private:
  ProcessGroup world_ = ProcessGroup::world();
  std::optional<TemporaryFolder> owned_;
  fs::path path_;
};

// Runs `body` on the first `size` ranks of the world, as a group of their own; the others wait.
void on_first_ranks(int size, const std::function<void(ProcessGroup)>& body) {
  const ProcessGroup world = ProcessGroup::world();
  const bool takes_part = world.rank() < size;
  const ProcessGroup group = world.split(takes_part ? 0 : 1, world.rank());
  if (takes_part) body(group);
  world.barrier();
}

const std::vector<CheckpointRunOptions>& all_options() {
  static const std::vector<CheckpointRunOptions> options = {
      {.bucket_bytes = 64},
      {.compute_dtype = DType::kBFloat16, .bucket_bytes = 700},
      {.optimizer = OptimizerKind::kSgd},
      {.optimizer = OptimizerKind::kSgd, .compute_dtype = DType::kBFloat16, .shapes = {{1}}},  // most ranks own nothing
  };
  return options;
}

TEST(CheckpointRanksTest, AnyNumberOfRanksReadsWhatAnyOtherWrote) {
  const int world_size = ProcessGroup::world().size();
  for (const CheckpointRunOptions& options : all_options()) {
    for (int writers = 1; writers <= world_size; ++writers) {
      SharedFolder folder;
      on_first_ranks(writers, [&](const ProcessGroup& group) { CheckpointRun(options, group).save(folder.path(), 9); });
      EXPECT_THAT(folder.checkpoint_names(), ElementsAre("step-00000009"));
      const fs::path checkpoint = checkpoint_path(folder.path(), 9);
      EXPECT_EQ(read_manifest(checkpoint).ranks(), writers);
      EXPECT_EQ(names_in(checkpoint).size(), static_cast<std::size_t>(writers) + 1);
      for (int readers = 1; readers <= world_size; ++readers) {
        on_first_ranks(readers, [&](const ProcessGroup& group) {
          CheckpointRun run(options, group);
          EXPECT_EQ(run.load(checkpoint).tokens(), 9000);
          EXPECT_TRUE(run.holds(9)) << writers << " ranks wrote, " << readers << " read";
        });
      }
      CheckpointRun alone(options);
      load_weights(CheckpointReader(checkpoint), alone.store);
      EXPECT_TRUE(alone.values_are(9)) << writers << " ranks wrote";
    }
  }
}

// A mesh of data x `tensor` ranks, neighbours along `tensor`, that cut some parameters and copy the others.
CheckpointRun run_on_mesh(CheckpointRunOptions options, int tensor) {
  const ProcessGroup world = ProcessGroup::world();
  const int rank = world.rank() % tensor;
  const auto slice = [&](int dim, std::int64_t size) {
    return ParameterPart{.slice = {dim, size * rank / tensor, size * (rank + 1) / tensor}};
  };
  const ParameterPart copy = {.copies = tensor, .copy = rank};
  options.parts = {slice(0, 7), slice(1, 12), slice(0, 3), copy, slice(2, 31)};
  return {options, world.split(rank, world.rank()), world};
}

TEST(CheckpointRanksTest, AnyMeshReadsWhatAnyOtherWrote) {
  const int world_size = ProcessGroup::world().size();
  for (const CheckpointRunOptions& options :
       {CheckpointRunOptions{.bucket_bytes = 64},
        CheckpointRunOptions{.compute_dtype = DType::kBFloat16, .bucket_bytes = 700}}) {
    for (int writers = 1; writers <= world_size; ++writers) {
      if (world_size % writers != 0) continue;
      SharedFolder folder;
      run_on_mesh(options, writers).save(folder.path(), 9);
      EXPECT_THAT(folder.checkpoint_names(), ElementsAre("step-00000009"));
      const fs::path checkpoint = checkpoint_path(folder.path(), 9);
      for (int readers = 1; readers <= world_size; ++readers) {
        if (world_size % readers != 0) continue;
        CheckpointRun run = run_on_mesh(options, readers);
        EXPECT_EQ(run.load(checkpoint).tokens(), 9000);
        EXPECT_TRUE(run.holds(9)) << "written on tensor groups of " << writers << ", read on groups of " << readers;
      }
      CheckpointRun alone(options);
      load_weights(CheckpointReader(checkpoint), alone.store);
      EXPECT_TRUE(alone.values_are(9)) << "written on tensor groups of " << writers;
    }
  }
}

TEST(CheckpointRanksTest, KeepsTheNewest) {
  SharedFolder folder;
  CheckpointRun run({.keep = 2}, ProcessGroup::world());
  for (int step = 1; step <= 4; ++step) run.save(folder.path(), step);
  EXPECT_THAT(folder.checkpoint_names(), ElementsAre("step-00000003", "step-00000004"));
  run.load(checkpoint_path(folder.path(), 3));
  EXPECT_TRUE(run.holds(3));
}

// While it lives, this process cannot write files of more than `bytes`: what a full disk is to a single rank.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : previous_(std::signal(SIGXFSZ, SIG_IGN)) {
    EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &limit_), 0);
    const rlimit small = {bytes, limit_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  }
  ~FileSizeLimit() {
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit_), 0);
    std::signal(SIGXFSZ, previous_);
  }

 private:
  void (*previous_)(int);
  rlimit limit_;
};

TEST(CheckpointRanksTest, OneRanksFullDiskIsEveryRanksError) {
  const ProcessGroup world = ProcessGroup::world();
  for (int failing = 0; failing < world.size(); ++failing) {
    SharedFolder folder;
    CheckpointRun run({.keep = 1, .shapes = {{4000}}}, world);
    run.save(folder.path(), 1);

    std::optional<FileSizeLimit> limit;
    if (world.rank() == failing) limit.emplace(1000);
    const std::string message = error_of([&] { run.save(folder.path(), 2); });
    limit.reset();
    EXPECT_THAT(message, AllOf(HasSubstr(fmt::format("rank {}:", failing)), HasSubstr("File too large"),
                               HasSubstr(fmt::format("shard-{:05}-of-{:05}", failing, world.size()))));
    EXPECT_THAT(world.all_gather(message), ::testing::Each(message));
    EXPECT_THAT(folder.checkpoint_names(), ElementsAre("step-00000001"));

    run.load(*newest_checkpoint(folder.path()));
    EXPECT_TRUE(run.holds(1));
    run.save(folder.path(), 2);
    EXPECT_THAT(folder.checkpoint_names(), ElementsAre("step-00000002"));
  }
}

TEST(CheckpointRanksTest, OneRanksDamagedShardIsEveryRanksError) {
  const ProcessGroup world = ProcessGroup::world();
  for (int damaged = 0; damaged < world.size(); ++damaged) {
    SharedFolder folder;
    CheckpointRun run({.bucket_bytes = 300}, world);
    run.save(folder.path(), 1);
    const fs::path checkpoint = checkpoint_path(folder.path(), 1);
    const std::string name = fmt::format("shard-{:05}-of-{:05}.safetensors", damaged, world.size());
    world.barrier();
    if (world.rank() == 0) {
      std::string bytes = read_file(checkpoint / name);
      bytes.back() ^= 1;
      write_file(checkpoint / name, bytes);
    }
    world.barrier();
    const std::string message = error_of([&] { run.load(checkpoint); });
    EXPECT_THAT(message, AllOf(HasSubstr(fmt::format("rank {}:", damaged)), HasSubstr(name), HasSubstr("damaged")));
    EXPECT_THAT(world.all_gather(message), ::testing::Each(message));

    world.barrier();
    if (world.rank() == 0) fs::remove(checkpoint / name);
    world.barrier();
    EXPECT_THAT(error_of([&] { run.load(checkpoint); }), AllOf(HasSubstr(name), HasSubstr("No such file")));
  }
}

}  // namespace
}  // namespace mudelta::testing
