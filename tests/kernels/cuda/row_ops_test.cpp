// The CUDA twins of ops that work row by row, against the CPU's.

#include <limits>

#include "kernels/gates.h"
#include "kernels/l2_norm.h"
#include "kernels/rms_norm.h"
#include "kernels/short_conv.h"
#include "kernels/swiglu.h"
#include "tests/kernels/cuda/on_device.h"

namespace mudelta::testing {
namespace {

using namespace mudelta::kernels;

class RowOpsOnDevice : public DeviceTest {};

struct Size {
  std::int64_t rows, dim;
};
// Teams of 16, 32, 128 and 256 threads; aligned rows and others; more rows than a block takes, more than a team does.
constexpr Size kSizes[] = {{0, 5},    {1, 1},   {3, 7},    {65, 16},   {63, 64},  {5, 100},
                           {70, 128}, {9, 200}, {40, 256}, {11, 1000}, {3, 2049}, {5, 4096}};

Tensor normal(const Shape& shape, std::string_view name, DType dtype = DType::kFloat32, double std = 1) {
  return random_normal(shape, name, std, 0, 1, dtype);
}

TEST_F(RowOpsOnDevice, L2Norm) {
  for (const DType dtype : kFloatTypes) {
    for (const auto [rows, dim] : kSizes) {
      SCOPED_TRACE(std::to_string(rows) + "x" + std::to_string(dim));
      const Shape shape{rows, dim};
      const Tensor x = normal(shape, "x", dtype), dy = normal(shape, "dy", dtype), y = filled(shape, dtype);
      const Tensor rstd = filled({rows}), unit = x.clone();
      expect_as_on_host({x, y, rstd},
                        [](const Tensors& t, Stream stream) { l2_norm_forward(t[0], 1e-6f, t[1], t[2], stream); });
      expect_as_on_host({x, rstd},  // in place
                        [](const Tensors& t, Stream stream) { l2_norm_forward(t[0], 1e-6f, t[0], t[1], stream); });
      l2_norm_forward(x, 1e-6f, unit, rstd, {});
      expect_as_on_host(
          {unit, rstd, dy, y},
          [](const Tensors& t, Stream stream) { l2_norm_backward(t[0], t[1], t[2], t[3], stream); },
          dim == 1 ? 1e-5 : 0);
      expect_as_on_host(
          {unit, rstd, dy}, [](const Tensors& t, Stream stream) { l2_norm_backward(t[0], t[1], t[2], t[2], stream); },
          dim == 1 ? 1e-5 : 0);
    }
  }
}

TEST_F(RowOpsOnDevice, RmsNorm) {
  for (const DType x_dtype : kFloatTypes) {
    for (const DType y_dtype : kFloatTypes) {
      for (const auto [rows, dim] : kSizes) {
        SCOPED_TRACE(std::to_string(rows) + "x" + std::to_string(dim));
        const Shape shape{rows, dim};
        const Tensor x = normal(shape, "x", x_dtype), weight = random_normal({dim}, "w", 0.3, 1);
        const Tensor y = filled(shape, y_dtype), rstd = filled({rows});
        expect_as_on_host({x, weight, y, rstd}, [](const Tensors& t, Stream stream) {
          rms_norm_forward(t[0], t[1], 1e-3f, t[2], t[3], stream);
        });
        rms_norm_forward(x, weight, 1e-3f, y, rstd, {});
        const Tensor dy = normal(shape, "dy", y_dtype), dx = normal(shape, "dr", x_dtype),
                     dweight = normal({dim}, "dw");
        expect_as_on_host(
            {x, weight, rstd, dy, dx, dweight},
            [](const Tensors& t, Stream stream) { rms_norm_backward(t[0], t[1], t[2], t[3], {}, t[4], t[5], stream); },
            dim == 1 ? 1e-5 : 0);
        expect_as_on_host({x, weight, rstd, dy, dx, dweight},  // dx is dresidual
                          [](const Tensors& t, Stream stream) {
                            rms_norm_backward(t[0], t[1], t[2], t[3], t[4], t[4], t[5], stream);
                          });
      }
    }
  }
}

// More rows than the smallest share of all blocks.
TEST_F(RowOpsOnDevice, RmsNormOfManyRows) {
  const Shape shape{5001, 260};
  const Tensor x = normal(shape, "x"), rstd = filled({5001}, DType::kFloat32, 1), dweight = normal({260}, "dw");
  expect_as_on_host(
      {x, normal({260}, "w"), rstd, normal(shape, "dy"), filled(shape), dweight},
      [](const Tensors& t, Stream stream) { rms_norm_backward(t[0], t[1], t[2], t[3], {}, t[4], t[5], stream); });
}

TEST_F(RowOpsOnDevice, GatedRmsNorm) {
  for (const DType dtype : kFloatTypes) {
    for (const auto [rows, dim] : kSizes) {
      SCOPED_TRACE(std::to_string(rows) + "x" + std::to_string(dim));
      const Shape shape{rows, dim};
      const Tensor x = normal(shape, "x", dtype), gate = normal(shape, "g", dtype, 20), y = filled(shape, dtype);
      const Tensor weight = random_normal({dim}, "w", 0.3, 1), rstd = filled({rows}), dy = normal(shape, "dy", dtype);
      expect_as_on_host({x, gate, weight, y, rstd}, [](const Tensors& t, Stream stream) {
        gated_rms_norm_forward(t[0], t[1], t[2], 1e-3f, t[3], t[4], stream);
      });
      gated_rms_norm_forward(x, gate, weight, 1e-3f, y, rstd, {});
      expect_as_on_host(
          {x, gate, weight, rstd, dy, y, filled(shape, dtype), normal({dim}, "dw")},
          [](const Tensors& t, Stream stream) {
            gated_rms_norm_backward(t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], stream);
          },
          dim == 1 ? 1e-5 : 0);
    }
  }
}

TEST_F(RowOpsOnDevice, SwiGlu) {
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t n : {0, 1, 7, 63, 64, 65, 1000, 5001}) {
      SCOPED_TRACE(n);
      const Tensor gate = normal({n}, "g", dtype, 30), up = normal({n}, "u", dtype), dy = normal({n}, "dy", dtype);
      expect_as_on_host({gate, up, filled({n}, dtype)},
                        [](const Tensors& t, Stream stream) { swiglu_forward(t[0], t[1], t[2], stream); });
      expect_as_on_host({gate, up}, [](const Tensors& t, Stream stream) { swiglu_forward(t[0], t[1], t[1], stream); });
      expect_as_on_host({gate, up, dy},
                        [](const Tensors& t, Stream stream) { swiglu_backward(t[0], t[1], t[2], t[0], t[1], stream); });
    }
  }
}

TEST_F(RowOpsOnDevice, Gates) {
  for (const auto [tokens, heads] : {Size{0, 3}, Size{1, 1}, Size{7, 6}, Size{63, 16}, Size{300, 33}, Size{1000, 4}}) {
    SCOPED_TRACE(std::to_string(tokens) + "x" + std::to_string(heads));
    const Shape shape{tokens, heads};
    const Tensor z_a = normal(shape, "a", DType::kFloat32, 30), z_b = normal(shape, "b", DType::kFloat32, 30);
    const Tensor a_log = normal({heads}, "A"), dt_bias = random_normal({heads}, "dt", 1, -2);
    expect_as_on_host({z_a, z_b, a_log, dt_bias, filled(shape), filled(shape)}, [](const Tensors& t, Stream stream) {
      gates_forward({t[0], t[1], t[2], t[3], 2.0f}, t[4], t[5], stream);
    });
    expect_as_on_host({z_a, z_b, a_log, dt_bias, normal(shape, "dg"), normal(shape, "db"), normal({heads}, "da"),
                       normal({heads}, "d")},
                      [](const Tensors& t, Stream stream) {
                        gates_backward({t[0], t[1], t[2], t[3], 2.0f}, t[4], t[5], {t[4], t[5], t[6], t[7]}, stream);
                      });
  }
}

// ---- short_conv

struct Packing {
  std::vector<std::int32_t> cu_seqlens;
  std::int64_t channels, taps;
};
// Empty sequences, ones shorter than the taps, ends at and next to the ends of a thread's and a block's tokens.
const Packing kPackings[] = {{{0}, 3, 4},
                             {{0, 0}, 3, 4},
                             {{0, 1}, 1, 4},
                             {{0, 2, 2, 3, 11, 14}, 18, 4},
                             {{0, 5, 6}, 33, 2},
                             {{0, 4, 7}, 16, 1},
                             {{0, 3, 9}, 7, 6},
                             {{0, 1, 3, 20}, 13, 8},
                             {{0, 2, 19, 40}, 16, 8},
                             {{0, 16, 31, 32, 33, 64, 65, 127, 128, 131}, 8, 4},
                             {{0, 40, 175, 300, 300}, 140, 4},
                             {{0, 1000}, 12, 3}};

TEST_F(RowOpsOnDevice, ShortConv) {
  for (const DType dtype : kFloatTypes) {
    for (const Packing& packing : kPackings) {
      const auto sequences = static_cast<std::int64_t>(packing.cu_seqlens.size()) - 1;
      const Shape shape{packing.cu_seqlens.back(), packing.channels},
          state{sequences, packing.taps - 1, packing.channels};
      SCOPED_TRACE(shape.to_string() + ", taps " + std::to_string(packing.taps));
      const Tensor x = normal(shape, "x", dtype), weight = normal({packing.channels, packing.taps}, "w");
      const Tensor cu_seqlens = Tensor::from(std::span<const std::int32_t>(packing.cu_seqlens), {sequences + 1});
      for (const Tensor& initial : {Tensor(), normal(state, "s")}) {
        expect_as_on_host({x, weight, cu_seqlens, initial, filled(shape, dtype), filled(state)},
                          [](const Tensors& t, Stream stream) {
                            short_conv_forward({t[0], t[1], t[2], t[3]}, t[4], t[5], stream);
                          });
        expect_as_on_host({x, weight, cu_seqlens, initial, filled(shape, dtype)},
                          [](const Tensors& t, Stream stream) {  // in place, or no final state
                            short_conv_forward({t[0], t[1], t[2], t[3]}, t[4], t[3], stream);
                          });
        expect_as_on_host({x, weight, cu_seqlens, initial, normal(shape, "dy", dtype), filled(shape, dtype),
                           normal(weight.shape(), "dw"), filled(state)},
                          [](const Tensors& t, Stream stream) {
                            short_conv_backward({t[0], t[1], t[2], t[3]}, t[4], {t[5], t[6], t[7]}, stream);
                          });
      }
    }
  }
}

struct Heads {
  std::int64_t heads, head_dim, taps;
};

TEST_F(RowOpsOnDevice, ShortConvL2Norm) {
  const std::vector<std::int32_t> kEnds[] = {
      {0}, {0, 1}, {0, 2, 2, 3, 11, 14}, {0, 16, 31, 32, 33, 64, 65, 127, 128, 131}};
  // One lane a head, all of them; odd sizes; 128 and 256 channels take other numbers of channels a lane; two passes.
  const Heads kHeads[] = {{1, 1, 4},   {3, 6, 4},   {5, 12, 4},  {5, 32, 3},  {3, 96, 4},
                          {2, 128, 4}, {1, 130, 2}, {2, 256, 4}, {1, 257, 4}, {2, 4, 6}};
  for (const DType dtype : kFloatTypes) {
    for (const auto& ends : kEnds) {
      for (const auto [heads, head_dim, taps] : kHeads) {
        const auto sequences = static_cast<std::int64_t>(ends.size()) - 1;
        const std::int64_t tokens = ends.back(), channels = heads * head_dim;
        if (tokens > 100 && channels > 150) continue;
        const Shape flat{tokens, channels}, per_head{tokens, heads, head_dim}, state{sequences, taps - 1, channels};
        SCOPED_TRACE(per_head.to_string() + ", taps " + std::to_string(taps));
        const Tensor x = normal(flat, "x", dtype), weight = normal({channels, taps}, "w"), initial = normal(state, "s");
        const Tensor cu_seqlens = Tensor::from(std::span<const std::int32_t>(ends), {sequences + 1});
        const Tensor y = filled(per_head, dtype), rstd = filled({tokens, heads});
        expect_as_on_host({x, weight, cu_seqlens, initial, y, rstd, filled(state)},
                          [](const Tensors& t, Stream stream) {
                            short_conv_l2_norm_forward({t[0], t[1], t[2], t[3]}, 1e-6f, t[4], t[5], t[6], stream);
                          });
        short_conv_l2_norm_forward({x, weight, cu_seqlens, initial}, 1e-6f, y, rstd, {}, {});
        expect_as_on_host(
            {x, weight, cu_seqlens, initial, y, rstd, normal(per_head, "dy", dtype), filled(flat, dtype),
             normal(weight.shape(), "dw"), filled(state)},
            [](const Tensors& t, Stream stream) {
              short_conv_l2_norm_backward({t[0], t[1], t[2], t[3]}, t[4], t[5], t[6], {t[7], t[8], t[9]}, stream);
            },
            head_dim == 1 ? 1e-3 : 1e-6);
      }
    }
  }
}

// Rows that could be read in whole words, were it not for where a tensor starts.
TEST_F(RowOpsOnDevice, TensorsNeedNotBeAligned) {
  for (const DType dtype : kFloatTypes) {
    const Shape shape{9, 64};
    const Tensor x = normal(shape, "x", dtype), y = normal(shape, "y", dtype), dy = normal(shape, "dy", dtype);
    const Tensor gate = normal(shape, "g", dtype), dx = filled(shape, dtype), dgate = filled(shape, dtype);
    const Tensor weight = random_normal({64}, "w", 0.3, 1), dweight = normal({64}, "dw");
    const Tensor rstd = random_uniform({9}, "r", 0.5, 1.5);
    expect_unaligned_as_on_host(
        {x, y, rstd}, [](const Tensors& t, Stream stream) { l2_norm_forward(t[0], 1e-6f, t[1], t[2], stream); });
    expect_unaligned_as_on_host(
        {y, rstd, dy, dx}, [](const Tensors& t, Stream stream) { l2_norm_backward(t[0], t[1], t[2], t[3], stream); });
    expect_unaligned_as_on_host({x, weight, y, rstd}, [](const Tensors& t, Stream stream) {
      rms_norm_forward(t[0], t[1], 1e-3f, t[2], t[3], stream);
    });
    expect_unaligned_as_on_host({x, weight, rstd, dy, y, dx, dweight}, [](const Tensors& t, Stream stream) {
      rms_norm_backward(t[0], t[1], t[2], t[3], t[4], t[5], t[6], stream);
    });
    expect_unaligned_as_on_host({x, gate, weight, y, rstd}, [](const Tensors& t, Stream stream) {
      gated_rms_norm_forward(t[0], t[1], t[2], 1e-3f, t[3], t[4], stream);
    });
    expect_unaligned_as_on_host({x, gate, weight, rstd, dy, dx, dgate, dweight}, [](const Tensors& t, Stream stream) {
      gated_rms_norm_backward(t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], stream);
    });
    expect_unaligned_as_on_host({gate, x, y},
                                [](const Tensors& t, Stream stream) { swiglu_forward(t[0], t[1], t[2], stream); });
    expect_unaligned_as_on_host({gate, x, dy, dgate, dx}, [](const Tensors& t, Stream stream) {
      swiglu_backward(t[0], t[1], t[2], t[3], t[4], stream);
    });
  }
}

TEST_F(RowOpsOnDevice, TensorsOfShortConvNeedNotBeAligned) {
  const std::int32_t ends[] = {0, 5, 9};
  const Tensor cu_seqlens = Tensor::from(ends, {3}), rstd = random_uniform({9, 2}, "r", 0.5, 1.5);
  for (const DType dtype : kFloatTypes) {
    for (const std::int64_t taps : {4, 6}) {
      const Shape flat{9, 64}, per_head{9, 2, 32};
      const Tensor x = normal(flat, "x", dtype), weight = normal({64, taps}, "w"), dweight = normal({64, taps}, "dw");
      const Tensor initial = normal({2, taps - 1, 64}, "s"), final_state = filled(initial.shape());
      expect_unaligned_as_on_host({x, weight, cu_seqlens, initial, filled(flat, dtype), final_state},
                                  [](const Tensors& t, Stream stream) {
                                    short_conv_forward({t[0], t[1], t[2], t[3]}, t[4], t[5], stream);
                                  });
      expect_unaligned_as_on_host(
          {x, weight, cu_seqlens, initial, normal(flat, "dy", dtype), filled(flat, dtype), dweight, final_state},
          [](const Tensors& t, Stream stream) {
            short_conv_backward({t[0], t[1], t[2], t[3]}, t[4], {t[5], t[6], t[7]}, stream);
          });
      const Tensor y = normal(per_head, "y", dtype), dy = normal(per_head, "dy", dtype);
      expect_unaligned_as_on_host(
          {x, weight, cu_seqlens, initial, y, rstd, final_state}, [](const Tensors& t, Stream stream) {
            short_conv_l2_norm_forward({t[0], t[1], t[2], t[3]}, 1e-6f, t[4], t[5], t[6], stream);
          });
      short_conv_l2_norm_forward({x, weight, cu_seqlens, initial}, 1e-6f, y, rstd, {}, {});
      expect_unaligned_as_on_host(
          {x, weight, cu_seqlens, initial, y, rstd, dy, filled(flat, dtype), dweight, final_state},
          [](const Tensors& t, Stream stream) {
            short_conv_l2_norm_backward({t[0], t[1], t[2], t[3]}, t[4], t[5], t[6], {t[7], t[8], t[9]}, stream);
          });
    }
  }
}

TEST_F(RowOpsOnDevice, NanOfOneSequenceStaysThere) {
  const std::int32_t ends[] = {0, 5, 9};
  const Tensor x = normal({9, 8}, "x"), y = filled({9, 8});
  for (float& value : x.slice(3, 5).span<float>()) value = std::numeric_limits<float>::quiet_NaN();
  const Tensors result =
      run_on(device(), {x, normal({8, 4}, "w"), Tensor::from(ends, {3}), y}, [](const Tensors& t, Stream stream) {
        short_conv_forward({t[0], t[1], t[2], {}}, t[3], {}, stream);
      });
  for (const double value : to_doubles(result[3].slice(5, 9))) EXPECT_TRUE(std::isfinite(value));
}

}  // namespace
}  // namespace mudelta::testing
