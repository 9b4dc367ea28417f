#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/message.h>
#include <hwy/highway.h>
#include <mpi.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/gpu.h"
#include "dist/mpi.h"
#include "dist/nccl_backend.h"
#include "launch/commands/commands.h"
#include "launch/job/agreement.h"
#include "launch/job/build_info.h"
#include "launch/job/job_devices.h"
#include "launch/job/machine.h"

namespace mudelta {
namespace {

// "2.6.0, instructions up to avx512_core_vnni"
std::string onednn() {
  const dnnl_version_t& version = *dnnl_version();
  std::string_view instructions = dnnl_cpu_isa2str(dnnl_get_effective_cpu_isa());
  constexpr std::string_view kPrefix = "cpu_isa_";
  if (instructions.starts_with(kPrefix)) instructions.remove_prefix(kPrefix.size());
  return fmt::format("{}.{}.{}, instructions up to {}", version.major, version.minor, version.patch, instructions);
}

// Targets that the kernels were compiled for, the best first, and the one that this CPU gets.
std::string highway() {
  std::vector<std::string> compiled;
  std::string chosen = "none";
  for (std::int64_t target = 1; target > 0 && target <= HWY_TARGETS; target <<= 1) {
    if ((HWY_TARGETS & target) == 0) continue;
    compiled.push_back(hwy::TargetName(target));
    if (chosen == "none" && (hwy::SupportedTargets() & target) != 0) chosen = compiled.back();
  }
  return fmt::format("{}.{}.{}, compiled for {}; uses {}", HWY_MAJOR, HWY_MINOR, HWY_PATCH, fmt::join(compiled, ", "),
                     chosen);
}

std::string mpi_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string version(text, static_cast<std::size_t>(length));
  return version.substr(0, version.find_first_of(",\n"));
}

void print_info() {
  const Machine machine = describe_machine();
  const auto line = [](std::string_view name, const std::string& value) { fmt::print("{:<10} {}\n", name, value); };
  line("mudelta", fmt::format("{} (revision {}, {} build, {})", kVersion, kRevision, kBuildType, kCompiler));
  line("CPU", fmt::format("{}, {} cores", machine.cpu_model, machine.cores));
  line("features", fmt::format("{}", fmt::join(machine.cpu_features, " ")));
  line("memory", fmt::format("{:.1f} GiB", static_cast<double>(machine.memory_bytes) / (1 << 30)));
  line("oneDNN", onednn());
  line("Highway", highway());
  line("OpenMP", fmt::format("{} threads", omp_get_max_threads()));
  line("MPI", fmt::format("{}; ranks in this job: {}", mpi_library(), rank_info().size));
  line("protobuf", google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION));
  line("CUDA", gpu::description());
  for (std::size_t i = 0; const gpu::DeviceInfo& gpu : usable_gpus()) {
    line(fmt::format("GPU {}", i++),
         fmt::format("{}, {}, {} multiprocessors, {:.1f} GiB", gpu.name, gpu.architecture, gpu.multiprocessors,
                     static_cast<double>(gpu.memory_bytes) / (1 << 30)));
  }
  line("NCCL", nccl_version());
}

}  // namespace

void add_info_command(CLI::App& app, Command& chosen) {
  CLI::App* command = app.add_subcommand("info", "Show version, libraries, CPU and devices");
  command->footer("Example: mudelta info");
  command->callback([&chosen] {
    chosen = [] {
      return run_on_first_rank([] {
        print_info();
        return 0;
      });
    };
  });
}

}  // namespace mudelta
