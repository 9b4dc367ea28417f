// What segments and the width of slabs do to the launches of the gated delta rule on a GPU: kernels_variants SHAPE...
// with shapes as for `mudelta bench --rule`. A row is a launch, the chunks of a segment (0: no segments), and measured
// milliseconds; "*" marks what the library would choose.

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <set>
#include <span>
#include <string>

#include "core/divide_up.h"
#include "core/error.h"
#include "kernels/gated_delta_rule/cuda/launches.h"
#include "launch/bench/bench_rule.h"
#include "launch/job/stopwatch.h"

namespace mudelta {
namespace {

using namespace kernels::cuda::gated_delta_rule;

constexpr double kSeconds = 0.02;  // a row

class Variants {
 public:
  Variants(const RuleShape& shape, RandomTensors& random)
      : shape_(shape),
        p_(random_rule_problem(shape, DType::kBFloat16, random)),
        sizes_(sizes_of(p_.inputs)),
        multiprocessors_(gpu::devices().at(static_cast<std::size_t>(gpu::current_device())).multiprocessors),
        stream_(random.stream()) {
    require(is_chunkwise(p_.inputs),
            "{}: expected a key_dim of 32, 64, 96, 128, 192 or 256 and a value_dim that is a multiple of 16 up to 512",
            shape.to_string());
    dstates_ = Tensor::empty({sizes_.slots(), sizes_.value_heads, sizes_.value_dim, sizes_.key_dim}, DType::kBFloat16,
                             stream_.device());
  }

  void print() {
    fmt::print("{}\n  {:<32}{:>10}{:>12}\n", shape_.to_string(), "", "segment", "ms");
    const int chosen = choose_segment_chunks(sizes_, multiprocessors_);
    for (const int chunks : std::set{0, 16, 32, 64, 128, chosen}) {
      if (chunks < divide_up(shape_.length, kChunk)) print_segments(chunks, chunks == chosen);
    }
    print_row("chunk_gradients", 0, true, [&] {
      chunk_gradients(p_.inputs, saved_, p_.d_o, saved_.chunk_states, dstates_, p_.gradients, stream_);
    });
  }

 private:
  void print_segments(int chunks, bool is_chosen) {
    const auto& in = p_.inputs;
    chunkwise_forward(in, p_.o, {}, saved_, true, chunks, stream_);
    Tensor dlast;
    if (chunks > 0) {
      dlast = Tensor::zeros(saved_.segment_states.shape(), DType::kFloat32, stream_.device());
      // carry_states adds to its own result, so that numbers grow from call to call, which takes no longer.
      print_row("segment_states", chunks, is_chosen, [&] { segment_states(in, saved_, stream_); });
      print_row("carry_states", chunks, is_chosen,
                [&] { carry_states(in, saved_, saved_.segment_states, Direction::kForward, stream_); });
      print_row("segment_dstates", chunks, is_chosen, [&] { segment_dstates(in, saved_, p_.d_o, {}, dlast, stream_); });
      print_row("carry_states back", chunks, is_chosen,
                [&] { carry_states(in, saved_, dlast, Direction::kBackward, stream_); });
      segment_states(in, saved_, stream_);
      carry_states(in, saved_, saved_.segment_states, Direction::kForward, stream_);
      dlast = Tensor::zeros(saved_.segment_states.shape(), DType::kFloat32, stream_.device());
    }
    const bool has_wide = sizes_.key_dim == 64 || sizes_.key_dim == 128;
    const std::int64_t states = std::int64_t{sizes_.segment_slots(segment_rows(saved_))} * sizes_.value_heads;
    const bool chooses_wide = has_wide && choose_wide_slabs(states, sizes_.value_dim, multiprocessors_);
    for (const bool wide : {false, true}) {
      if (wide && !has_wide) continue;
      const Slabs slabs = wide ? Slabs::kWide : Slabs::kNarrow;
      const char* width = wide ? "wide" : "narrow";
      print_row(fmt::format("scan, {} slabs", width), chunks, is_chosen && wide == chooses_wide,
                [&] { scan(in, saved_, p_.o, {}, stream_, slabs); });
      print_row(fmt::format("backward_scan, {} slabs", width), chunks, is_chosen && wide == chooses_wide,
                [&] { backward_scan(in, saved_, p_.d_o, dlast, dstates_, p_.gradients.dv, {}, stream_, slabs); });
    }
  }

  void print_row(const std::string& name, int chunks, bool is_chosen, const std::function<void()>& run) const {
    fmt::print("  {:<32}{:>10}{:>12.4f}{}\n", name, chunks, 1e3 * measure(run, kSeconds, stream_).median,
               is_chosen ? " *" : "");
  }

  RuleShape shape_;
  RuleProblem p_;
  KernelSizes sizes_;
  int multiprocessors_;
  Stream stream_;
  Saved saved_;
  Tensor dstates_;
};

}  // namespace
}  // namespace mudelta

int main(int argc, char** argv) {
  using namespace mudelta;
  try {
    require(argc > 1, "expected shapes, as in 8x2048,16/32,128x256");
    require(!gpu::devices().empty(), "no GPU: {}", gpu::description());
    gpu::use_device(0);
    RandomTensors random{Stream(Device::cuda())};
    for (const char* shape : std::span(argv + 1, static_cast<std::size_t>(argc - 1))) {
      Variants(parse_rule_shape(shape), random).print();
      std::fflush(stdout);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 2;
  }
}
