// What training makes of a GPU's streams, events and graphs, it destroys: a sweep trains hundreds of models.

#include <gtest/gtest.h>

#include <string>

#include "core/gpu.h"
#include "data/prepare.h"
#include "launch/config/run_config.h"
#include "launch/train/trainer.h"
#include "launch/train/training_job.h"
#include "tests/simt/stream.h"
#include "tests/support/files.h"

namespace mudelta::testing {
namespace {

TEST(DeviceObjects, ATrainerLeavesNone) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 100; ++i) text += "a text of some length, number " + std::to_string(i) + "\n\n";
  write_file(folder / "a.txt", text);
  prepare({.text = {.files = {folder / "a.txt"}}, .out = folder / "data", .validation_fraction = 0.1}, {});
  const auto file = write_file(folder / "run.textproto", R"(
      data { path: ')" + (folder / "data").string() + R"(' }
      model { width: 16 layers: 1 heads: 1 }
      train { steps: 3 global_batch: 2 sequence_length: 16 cuda_graph: true })");
  const RunConfig config = complete_run_config(load_run_config(file, {}), 1);
  gpu::use_device(0);
  const simt::LiveObjects before = simt::live_objects();
  {
    Trainer trainer(config, Mesh(), Device::cuda());
    for (int step = 0; step < 3; ++step) trainer.step();
    const simt::LiveObjects now = simt::live_objects();
    EXPECT_GT(now.streams, before.streams);
    EXPECT_GT(now.events, before.events);
    EXPECT_GT(now.graphs, before.graphs);
  }
  EXPECT_EQ(simt::live_objects(), before);
}

}  // namespace
}  // namespace mudelta::testing
