// What each launch of the gated delta rule takes on a GPU: kernels_launch_times SHAPE... with shapes as for
// `mudelta bench --rule`.

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "launch/bench/bench_rule.h"
#include "launch/job/stopwatch.h"

namespace mudelta {
namespace {

using namespace kernels::cuda::gated_delta_rule;

// The launches of gated_delta_rule_forward and _backward for the problem, in order.
class Launches {
 public:
  Launches(const RuleProblem& problem, bool keep_states, Stream stream)
      : p_(problem), keep_states_(keep_states), stream_(stream) {
    const KernelSizes sizes = sizes_of(p_.inputs);
    const Device device = stream.device();
    const int multiprocessors = gpu::devices().at(static_cast<std::size_t>(gpu::current_device())).multiprocessors;
    // Makes the segments' states, too.
    chunkwise_forward(p_.inputs, p_.o, {}, saved_, keep_states, choose_segment_chunks(sizes, multiprocessors), stream);
    one_launch_ = !keep_states && choose_one_launch(sizes, segment_rows(saved_), multiprocessors);
    const auto empty_states = [&] {
      return Tensor::empty({sizes.slots(), sizes.value_heads, sizes.value_dim, sizes.key_dim}, DType::kBFloat16,
                           device);
    };
    states_ = keep_states ? saved_.chunk_states : empty_states();
    dstates_ = empty_states();
    if (has_segments()) dlast_ = Tensor::zeros(saved_.segment_states.shape(), DType::kFloat32, device);
  }

  bool has_segments() const { return saved_.segment_chunks > 0; }
  int segment_chunks() const { return saved_.segment_chunks; }

  std::vector<std::pair<std::string, std::function<void()>>> list() {
    const auto& in = p_.inputs;
    std::vector<std::pair<std::string, std::function<void()>>> all;
    all.emplace_back("prepare", [&] { prepare(in, prepared_, stream_); });
    if (has_segments()) {
      all.emplace_back("segment_states", [&] { segment_states(in, saved_, stream_); });
      all.emplace_back("carry_states",
                       [&] { carry_states(in, saved_, saved_.segment_states, Direction::kForward, stream_); });
    }
    all.emplace_back("scan", [&] { scan(in, saved_, p_.o, {}, stream_); });
    if (has_segments()) {
      all.emplace_back("segment_dstates", [&] { segment_dstates(in, saved_, p_.d_o, {}, dlast_, stream_); });
      all.emplace_back("carry_states back", [&] { carry_states(in, saved_, dlast_, Direction::kBackward, stream_); });
    }
    if (one_launch_) {
      all.emplace_back("both_scans", [&] {
        both_scans(in, saved_, p_.d_o, dlast_, states_, dstates_, p_.gradients.dv, {}, stream_);
      });
    } else {
      if (!keep_states_) all.emplace_back("chunk_states", [&] { chunk_states(in, saved_, states_, stream_); });
      all.emplace_back("backward_scan",
                       [&] { backward_scan(in, saved_, p_.d_o, dlast_, dstates_, p_.gradients.dv, {}, stream_); });
    }
    all.emplace_back("chunk_gradients",
                     [&] { chunk_gradients(in, saved_, p_.d_o, states_, dstates_, p_.gradients, stream_); });
    return all;
  }

 private:
  RuleProblem p_;
  bool keep_states_;
  Stream stream_;
  Saved saved_, prepared_;
  bool one_launch_ = false;
  Tensor states_, dstates_, dlast_;
};

void print_times(const std::string& text, double seconds) {
  RandomTensors random{Stream(Device::cuda())};
  const RuleProblem problem = random_rule_problem(parse_rule_shape(text), DType::kBFloat16, random);
  require(is_chunkwise(problem.inputs),
          "{}: expected a key_dim of 32, 64, 96, 128, 192 or 256 and a value_dim that is a multiple of 16 up to 512",
          text);
  for (const bool keep_states : {true, false}) {
    Launches launches(problem, keep_states, random.stream());
    fmt::print("{}, states {}{}\n", text, keep_states ? "kept" : "computed again",
               launches.has_segments() ? fmt::format(", segments of {} chunks", launches.segment_chunks()) : "");
    // carry_states adds to its own result, so that numbers grow from call to call, which takes no longer.
    double total = 0;
    std::vector<std::pair<std::string, double>> times;
    for (const auto& [name, run] : launches.list()) {
      times.emplace_back(name, measure(run, seconds, random.stream()).median);
      total += times.back().second;
    }
    for (const auto& [name, time] : times) {
      fmt::print("  {:<20}{:>10.4f} ms{:>8.1f}%\n", name, time * 1e3, 100 * time / total);
    }
  }
}

}  // namespace
}  // namespace mudelta

int main(int argc, char** argv) {
  using namespace mudelta;
  try {
    require(argc > 1, "expected shapes, as in 8x2048,16/32,128x256");
    require(!gpu::devices().empty(), "no GPU: {}", gpu::description());
    gpu::use_device(0);
    for (const char* shape : std::span(argv + 1, static_cast<std::size_t>(argc - 1))) print_times(shape, 0.1);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 2;
  }
}
