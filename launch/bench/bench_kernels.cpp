#include "launch/bench/bench_kernels.h"

#include "core/gemm.h"
#include "core/rng.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/gates.h"
#include "kernels/optimizer_update.h"
#include "kernels/reduce.h"
#include "kernels/rms_norm.h"
#include "kernels/short_conv.h"
#include "kernels/swiglu.h"
#include "launch/bench/bench_rule.h"
#include "launch/bench/random_tensors.h"
#include "model/mixer.h"

namespace mudelta {
namespace {

class CaseBuilder {
 public:
  CaseBuilder(const ModelConfig& c, std::int64_t sequences, std::int64_t length, DType dtype, Stream stream)
      : c_(c),
        tokens_(sequences * length),
        dtype_(dtype),
        stream_(stream),
        random_(stream),
        mixer_(Mixer::sizes(c)) {
    std::vector<std::int32_t> starts;
    for (std::int64_t i = 0; i <= sequences; ++i) starts.push_back(static_cast<std::int32_t>(i * length));
    cu_seqlens_ = Tensor::from(starts, {sequences + 1}).to(stream_.device());
    std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens_));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<std::int32_t>(CounterRng(1, "ids").bits(i) % static_cast<std::uint64_t>(c.vocab_size()));
    }
    ids_ = Tensor::from(ids, {tokens_}).to(stream_.device());
  }

  std::vector<KernelCase> take() { return std::move(cases_); }

  void matrices() {
    linear("linear q", c_.width(), mixer_.keys());
    linear("linear v", c_.width(), mixer_.values());
    linear("linear a", c_.width(), mixer_.value_heads);
    linear("linear mlp up", c_.width(), c_.mlp_size());
    linear("linear mlp down", c_.mlp_size(), c_.width());
  }

  void mixer() {
    short_conv();
    short_conv_l2_norm();
    gates();
    gated_delta_rule();
    gated_rms_norm();
  }

  void others() {
    rms_norm();
    swiglu();
    embedding();
    cross_entropy();
    optimizer();
  }

 private:
  using Run = std::function<void()>;

  Tensor random(const Shape& shape, DType dtype, double std = 1) { return random_.normal(shape, dtype, std); }
  Tensor floats(const Shape& shape) { return random_.floats(shape); }

  void add(const std::string& name, double flops, double bytes, Run run) {
    cases_.push_back({name, flops, bytes, std::move(run)});
  }
  double activation_bytes(std::int64_t per_token, int tensors) const {
    return static_cast<double>(tokens_ * per_token * size_of(dtype_) * tensors);
  }
  double per_token(double flops) const { return flops * static_cast<double>(tokens_); }

  void linear(const std::string& name, std::int64_t in, std::int64_t out) {
    const Tensor x = random({tokens_, in}, dtype_), w = random({out, in}, dtype_), y = random({tokens_, out}, dtype_);
    const Tensor dx = random({tokens_, in}, dtype_), dw = floats({out, in});
    const double flops = per_token(2.0 * static_cast<double>(in * out));
    const double weight_bytes = static_cast<double>(in * out * size_of(dtype_));
    add(name + " fwd", flops, activation_bytes(in + out, 1) + weight_bytes,
        [=, stream = stream_] { linear_forward(x, w, y, stream); });
    add(name + " bwd", 2 * flops, activation_bytes(in + out, 2) + 3 * weight_bytes,
        [=, stream = stream_] { linear_backward(x, w, y, dx, false, dw, stream); });
  }

  void short_conv() {
    const std::int64_t channels = mixer_.values();
    const Tensor x = random({tokens_, channels}, dtype_), y = random({tokens_, channels}, dtype_);
    const Tensor dx = random({tokens_, channels}, dtype_), w = floats({channels, mixer_.conv_size});
    const Tensor dw = floats({channels, mixer_.conv_size});
    const double taps = static_cast<double>(mixer_.conv_size);
    const double elements = static_cast<double>(channels);
    add("short_conv v fwd", per_token(elements * (2 * taps + 4)), activation_bytes(channels, 2),
        [=, cu = cu_seqlens_, stream = stream_] {
          kernels::short_conv_forward({x, w, cu, {}}, y, {}, stream);
        });
    add("short_conv v bwd", per_token(elements * (6 * taps + 10)), activation_bytes(channels, 3),
        [=, cu = cu_seqlens_, stream = stream_] {
          kernels::short_conv_backward({x, w, cu, {}}, y, {dx, dw, {}}, stream);
        });
  }

  void short_conv_l2_norm() {
    const std::int64_t channels = mixer_.keys();
    const Shape per_head{tokens_, mixer_.heads, mixer_.head_dim};
    const Tensor x = random({tokens_, channels}, dtype_), y = random(per_head, dtype_), dy = random(per_head, dtype_);
    const Tensor dx = random({tokens_, channels}, dtype_), w = floats({channels, mixer_.conv_size});
    const Tensor dw = floats({channels, mixer_.conv_size}), rstd = floats({tokens_, mixer_.heads});
    const double taps = static_cast<double>(mixer_.conv_size);
    const double elements = static_cast<double>(channels);
    add("short_conv q fwd", per_token(elements * (2 * taps + 7)), activation_bytes(channels, 2),
        [=, cu = cu_seqlens_, stream = stream_] {
          kernels::short_conv_l2_norm_forward({x, w, cu, {}}, 1e-6f, y, rstd, {}, stream);
        });
    add("short_conv q bwd", per_token(elements * (6 * taps + 15)), activation_bytes(channels, 3),
        [=, cu = cu_seqlens_, stream = stream_] {
          kernels::short_conv_l2_norm_backward({x, w, cu, {}}, y, rstd, dy, {dx, dw, {}}, stream);
        });
  }

  void gates() {
    const Shape shape{tokens_, mixer_.value_heads};
    const Tensor z_a = floats(shape), z_b = floats(shape), g = floats(shape), beta = floats(shape);
    const Tensor a_log = floats({mixer_.value_heads}), dt_bias = floats({mixer_.value_heads});
    const Tensor da = floats({mixer_.value_heads}), ddt = floats({mixer_.value_heads});
    const double elements = static_cast<double>(mixer_.value_heads);
    add("gates fwd", per_token(8 * elements), per_token(16 * elements), [=, stream = stream_] {
      kernels::gates_forward({z_a, z_b, a_log, dt_bias}, g, beta, stream);
    });
    const Tensor dz_a = floats(shape), dz_b = floats(shape);
    add("gates bwd", per_token(14 * elements), per_token(24 * elements), [=, stream = stream_] {
      kernels::gates_backward({z_a, z_b, a_log, dt_bias}, g, beta, {dz_a, dz_b, da, ddt}, stream);
    });
  }

  void gated_delta_rule() {
    const RuleShape shape{.sequences = cu_seqlens_.numel() - 1,
                          .length = tokens_ / (cu_seqlens_.numel() - 1),
                          .heads = mixer_.heads,
                          .value_heads = mixer_.value_heads,
                          .key_dim = mixer_.head_dim,
                          .value_dim = mixer_.value_dim};
    const RuleCalls calls = rule_calls(random_rule_problem(shape, dtype_, random_), stream_);
    const double flops = per_token(Mixer::flops(mixer_).recurrence);
    const double bytes = activation_bytes(2 * (mixer_.keys() + mixer_.values()), 1);
    add("gated_delta_rule fwd", flops, bytes, calls.forward);
    add("gated_delta_rule bwd", 2 * flops, 2 * bytes, calls.backward);
  }

  void gated_rms_norm() {
    const Shape shape{tokens_ * mixer_.value_heads, mixer_.value_dim};
    const Tensor x = random(shape, dtype_), gate = random(shape, dtype_), y = random(shape, dtype_);
    const Tensor w = floats({mixer_.value_dim}), dw = floats({mixer_.value_dim}), rstd = floats({shape[0]});
    const Tensor dx = random(shape, dtype_), dgate = random(shape, dtype_);
    const std::int64_t size = mixer_.values();
    const double elements = static_cast<double>(size);
    add("gated_rms_norm fwd", per_token(9 * elements), activation_bytes(size, 3),
        [=, stream = stream_] { kernels::gated_rms_norm_forward(x, gate, w, 1e-6f, y, rstd, stream); });
    add("gated_rms_norm bwd", per_token(22 * elements), activation_bytes(size, 5),
        [=, stream = stream_] { kernels::gated_rms_norm_backward(x, gate, w, rstd, y, dx, dgate, dw, stream); });
  }

  void rms_norm() {
    const Tensor x = floats({tokens_, c_.width()}), dx = floats({tokens_, c_.width()}), rstd = floats({tokens_});
    const Tensor y = random({tokens_, c_.width()}, dtype_), w = floats({c_.width()}), dw = floats({c_.width()});
    const double elements = static_cast<double>(c_.width());
    const double residual_bytes = per_token(4 * elements);
    add("rms_norm fwd", per_token(4 * elements), residual_bytes + activation_bytes(c_.width(), 1),
        [=, stream = stream_] { kernels::rms_norm_forward(x, w, 1e-6f, y, rstd, stream); });
    add("rms_norm bwd", per_token(10 * elements), 3 * residual_bytes + activation_bytes(c_.width(), 1),
        [=, stream = stream_] { kernels::rms_norm_backward(x, w, rstd, y, dx, dx, dw, stream); });
  }

  void swiglu() {
    const Shape shape{tokens_, c_.mlp_size()};
    const Tensor gate = random(shape, dtype_), up = random(shape, dtype_), y = random(shape, dtype_);
    const Tensor dgate = random(shape, dtype_), dup = random(shape, dtype_);
    const double elements = static_cast<double>(c_.mlp_size());
    add("swiglu fwd", per_token(5 * elements), activation_bytes(c_.mlp_size(), 3),
        [=, stream = stream_] { kernels::swiglu_forward(gate, up, y, stream); });
    add("swiglu bwd", per_token(11 * elements), activation_bytes(c_.mlp_size(), 5),
        [=, stream = stream_] { kernels::swiglu_backward(gate, up, y, dgate, dup, stream); });
  }

  void embedding() {
    const Tensor table = random({c_.vocab_size(), c_.width()}, dtype_), y = floats({tokens_, c_.width()});
    const Tensor dtable = floats({c_.vocab_size(), c_.width()});
    const double elements = static_cast<double>(c_.width());
    add("embedding fwd", 0, per_token(8 * elements),
        [=, ids = ids_, stream = stream_] { kernels::embedding_forward(table, ids, y, stream); });
    add("embedding bwd", per_token(elements), per_token(12 * elements),
        [=, ids = ids_, stream = stream_] { kernels::embedding_backward(ids, y, dtable, stream); });
  }

  void cross_entropy() {
    const Tensor hidden = random({tokens_, c_.width()}, dtype_), dhidden = random({tokens_, c_.width()}, dtype_);
    const Tensor w = random({c_.vocab_size(), c_.width()}, dtype_, 0.02), dw = floats({c_.vocab_size(), c_.width()});
    const Tensor losses = floats({tokens_});
    const double flops = per_token(2.0 * static_cast<double>(c_.vocab_size() * c_.width()));
    add("cross_entropy fwd+bwd", 3 * flops, activation_bytes(c_.width(), 3), [=, ids = ids_, stream = stream_] {
      kernels::cross_entropy_forward_backward({hidden, w, ids, 1.0f}, 1e-3f, losses, dhidden, dw, stream);
    });
  }

  void optimizer() {
    const std::int64_t n = 4 * 1024 * 1024;
    const auto elements = static_cast<double>(n);
    const Tensor w = floats({n}), m = floats({n}), g = floats({n});
    const Tensor v = random_.floats_of({n}, [](float x) { return x * x; });
    add("adamw 4M", 12 * elements, 28 * elements, [=, stream = stream_] {
      kernels::adamw_update({.weight = w, .exp_avg = m, .exp_avg_sq = v, .gradient = g, .lr = 1e-4f}, stream);
    });
    add("sgd 4M", 6 * elements, 20 * elements, [=, stream = stream_] {
      kernels::sgd_update({.weight = w, .momentum_buffer = m, .gradient = g, .lr = 1e-4f, .momentum = 0.9f}, stream);
    });
    const Tensor total = Tensor::zeros({1}, DType::kFloat64, stream_.device());
    add("sum_of_squares 4M", 2 * elements, 4 * elements,
        [=, stream = stream_] { kernels::add_sum_of_squares(g, 1, total, stream); });
  }

  const ModelConfig c_;
  std::int64_t tokens_;
  DType dtype_;
  Stream stream_;
  RandomTensors random_;
  Mixer::Sizes mixer_;
  Tensor cu_seqlens_, ids_;
  std::vector<KernelCase> cases_;
};

}  // namespace

std::vector<KernelCase> kernel_cases(const ModelConfig& resolved, std::int64_t sequences, std::int64_t sequence_length,
                                     DType dtype, Stream stream) {
  CaseBuilder builder(resolved, sequences, sequence_length, dtype, stream);
  builder.matrices();
  builder.mixer();
  builder.others();
  return builder.take();
}

}  // namespace mudelta
