// Ops that work row by row, against float64 loops written from their definitions. Backward passes are compared with
// numeric derivatives of those loops.

#include <gmock/gmock.h>

#include <cmath>

#include "kernels/gates.h"
#include "kernels/l2_norm.h"
#include "kernels/rms_norm.h"
#include "kernels/swiglu.h"
#include "tests/support/errors.h"
#include "tests/support/op_case.h"

namespace mudelta::testing {
namespace {

using namespace mudelta::kernels;
using ::testing::HasSubstr;

double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
double silu(double x) { return x * sigmoid(x); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

struct Size {
  std::int64_t rows, dim;
};
// None, one, odd, a vector and one more, many blocks of rows.
constexpr Size kSizes[] = {{0, 5}, {1, 1}, {3, 7}, {5, 16}, {4, 33}, {7, 100}, {2, 257}};

// ---- l2_norm

Vector l2_norm(const Vector& x, std::size_t dim, double eps) {
  Vector y(x.size());
  for (std::size_t row = 0; row < x.size(); row += dim) {
    double sum = eps;
    for (std::size_t i = row; i < row + dim; ++i) sum += x[i] * x[i];
    for (std::size_t i = row; i < row + dim; ++i) y[i] = x[i] / std::sqrt(sum);
  }
  return y;
}

TEST(L2Norm, ForwardAndBackward) {
  for (const DType dtype : kFloatTypes) {
    for (const auto [rows, dim] : kSizes) {
      const Tensor x = random_normal({rows, dim}, "x", 2, 0.5, 1, dtype),
                   dy = random_normal({rows, dim}, "dy", 1, 0, 1, dtype);
      const Tensor y = filled(x.shape(), dtype), rstd = filled({rows}), dx = filled(x.shape(), dtype);
      l2_norm_forward(x, 1e-6f, y, rstd, {});
      const auto f = [d = dim](const Vector& v) { return l2_norm(v, static_cast<std::size_t>(d), 1e-6); };
      EXPECT_TRUE(close(y, f(to_doubles(x)), tolerance(dtype))) << rows << "x" << dim;
      l2_norm_backward(y, rstd, dy, dx, {});
      const Vector expected = numeric_gradient(f, to_doubles(x), to_doubles(dy));
      EXPECT_TRUE(close(dx, expected, gradient_tolerance(dtype), dim == 1 ? 1e-2 : 0)) << rows << "x" << dim;

      const Tensor in_place = x.clone(), d_in_place = dy.clone();
      l2_norm_forward(in_place, 1e-6f, in_place, rstd, {});
      EXPECT_TRUE(same_bits(in_place, y));
      l2_norm_backward(y, rstd, d_in_place, d_in_place, {});
      EXPECT_TRUE(same_bits(d_in_place, dx));
    }
  }
}

TEST(L2Norm, ExtremeRowsStayFinite) {
  const Tensor x = Tensor::zeros({3, 20}), y = filled({3, 20}), rstd = filled({3});
  for (int i = 0; i < 20; ++i) x.data<float>()[20 + i] = 1e4f, x.data<float>()[40 + i] = -1e-5f;
  l2_norm_forward(x, 1e-6f, y, rstd, {});
  EXPECT_TRUE(close(y, l2_norm(to_doubles(x), 20, 1e-6), 1e-6));
}

// ---- rms_norm

Vector rms_norm(const Vector& x, const Vector& weight, double eps) {
  const std::size_t dim = weight.size();
  Vector y(x.size());
  for (std::size_t row = 0; row < x.size(); row += dim) {
    double sum = 0;
    for (std::size_t i = row; i < row + dim; ++i) sum += x[i] * x[i];
    const double rstd = 1 / std::sqrt(sum / static_cast<double>(dim) + eps);
    for (std::size_t i = 0; i < dim; ++i) y[row + i] = x[row + i] * rstd * weight[i];
  }
  return y;
}

TEST(RmsNorm, ForwardAndBackward) {
  constexpr float kEps = 1e-3f;
  for (const DType dtype : kFloatTypes) {
    for (const auto [rows, dim] : kSizes) {
      const Tensor x = random_normal({rows, dim}, "x"), weight = random_normal({dim}, "w", 0.3, 1);
      const Tensor dy = random_normal({rows, dim}, "dy", 1, 0, 1, dtype), dresidual = random_normal({rows, dim}, "r");
      const Tensor y = filled(x.shape(), dtype), rstd = filled({rows});
      const Tensor dx = filled(x.shape()), dweight = random_normal({dim}, "dw");
      const Vector dweight_before = to_doubles(dweight);
      rms_norm_forward(x, weight, kEps, y, rstd, {});
      const Vector xs = to_doubles(x), ws = to_doubles(weight), dys = to_doubles(dy);
      EXPECT_TRUE(close(y, rms_norm(xs, ws, kEps), tolerance(dtype))) << rows << "x" << dim;

      rms_norm_backward(x, weight, rstd, dy, {}, dx, dweight, {});
      const Vector expected = numeric_gradient([&](const Vector& v) { return rms_norm(v, ws, kEps); }, xs, dys);
      EXPECT_TRUE(close(dx, expected, 2e-5, dim == 1 ? 1e-4 : 0)) << rows << "x" << dim;
      const Vector dws = numeric_gradient([&](const Vector& v) { return rms_norm(xs, v, kEps); }, ws, dys);
      EXPECT_TRUE(close(dweight, plus(dws, dweight_before), 2e-5)) << rows << "x" << dim;

      const Tensor with_residual = dresidual.clone();  // dx may be dresidual itself
      rms_norm_backward(x, weight, rstd, dy, with_residual, with_residual, dweight, {});
      EXPECT_TRUE(close(with_residual, plus(expected, to_doubles(dresidual)), 2e-5, 1e-4)) << rows << "x" << dim;
    }
  }
}

TEST(RmsNorm, GainGradientOverManyRows) {
  const std::int64_t rows = 3000, dim = 9;
  const Tensor x = random_normal({rows, dim}, "x"), weight = filled({dim}, DType::kFloat32, 1),
               dy = random_normal({rows, dim}, "dy");
  const Tensor y = filled(x.shape()), rstd = filled({rows}), dx = filled(x.shape());
  rms_norm_forward(x, weight, 1e-6f, y, rstd, {});
  Vector expected(dim);
  const Vector ys = rms_norm(to_doubles(x), Vector(dim, 1.0), 1e-6), dys = to_doubles(dy);
  for (std::size_t i = 0; i < ys.size(); ++i) expected[i % dim] += ys[i] * dys[i];
  const Tensor first = Tensor::zeros({dim}), second = Tensor::zeros({dim});
  rms_norm_backward(x, weight, rstd, dy, {}, dx, first, {});
  rms_norm_backward(x, weight, rstd, dy, {}, dx, second, {});
  EXPECT_TRUE(close(first, expected, 1e-5));
  EXPECT_TRUE(same_bits(first, second));
}

Vector gated_rms_norm(const Vector& x, const Vector& gate, const Vector& weight, double eps) {
  Vector y = rms_norm(x, weight, eps);
  for (std::size_t i = 0; i < y.size(); ++i) y[i] *= silu(gate[i]);
  return y;
}

TEST(GatedRmsNorm, ForwardAndBackward) {
  constexpr float kEps = 1e-3f;
  for (const DType dtype : kFloatTypes) {
    for (const auto [rows, dim] : kSizes) {
      const Tensor x = random_normal({rows, dim}, "x", 1, 0, 1, dtype),
                   gate = random_normal({rows, dim}, "g", 2, 0, 1, dtype);
      const Tensor weight = random_normal({dim}, "w", 0.3, 1), dy = random_normal({rows, dim}, "dy", 1, 0, 1, dtype);
      const Tensor y = filled(x.shape(), dtype), rstd = filled({rows}), dx = filled(x.shape(), dtype);
      const Tensor dgate = filled(x.shape(), dtype), dweight = random_normal({dim}, "dw");
      const Vector dweight_before = to_doubles(dweight);
      const Vector xs = to_doubles(x), gs = to_doubles(gate), ws = to_doubles(weight), dys = to_doubles(dy);
      gated_rms_norm_forward(x, gate, weight, kEps, y, rstd, {});
      EXPECT_TRUE(close(y, gated_rms_norm(xs, gs, ws, kEps), tolerance(dtype))) << rows << "x" << dim;
      gated_rms_norm_backward(x, gate, weight, rstd, dy, dx, dgate, dweight, {});
      const auto expect = [&](const Tensor& actual, const Vector& expected) {
        EXPECT_TRUE(close(actual, expected, gradient_tolerance(actual.dtype()), dim == 1 ? 1e-2 : 0))
            << rows << "x" << dim;
      };
      expect(dx, numeric_gradient([&](const Vector& v) { return gated_rms_norm(v, gs, ws, kEps); }, xs, dys));
      expect(dgate, numeric_gradient([&](const Vector& v) { return gated_rms_norm(xs, v, ws, kEps); }, gs, dys));
      expect(dweight, plus(numeric_gradient([&](const Vector& v) { return gated_rms_norm(xs, gs, v, kEps); }, ws, dys),
                           dweight_before));
    }
  }
}

TEST(GatedRmsNorm, ExtremeGatesStayFinite) {
  const Tensor x = random_normal({2, 9}, "x"), gate = Tensor::empty({2, 9}), weight = filled({9}, DType::kFloat32, 1);
  for (int i = 0; i < 18; ++i) gate.data<float>()[i] = i % 3 == 0 ? -1e4f : i % 3 == 1 ? 1e4f : 0.0f;
  const Tensor y = filled(x.shape()), rstd = filled({2}), dx = filled(x.shape()), dgate = filled(x.shape());
  gated_rms_norm_forward(x, gate, weight, 1e-6f, y, rstd, {});
  EXPECT_TRUE(close(y, gated_rms_norm(to_doubles(x), to_doubles(gate), Vector(9, 1.0), 1e-6), 1e-6));
  gated_rms_norm_backward(x, gate, weight, rstd, x, dx, dgate, Tensor::zeros({9}), {});
  for (const Tensor& tensor : {dx, dgate}) {
    for (const double value : to_doubles(tensor)) EXPECT_TRUE(std::isfinite(value));
  }
}

// ---- swiglu

TEST(SwiGlu, ForwardAndBackward) {
  for (const DType dtype : kFloatTypes) {
    for (const auto [rows, dim] : kSizes) {
      const Tensor gate = random_normal({rows, dim}, "gate", 3, 0, 1, dtype),
                   up = random_normal({rows, dim}, "up", 1, 0, 1, dtype);
      const Tensor dy = random_normal({rows, dim}, "dy", 1, 0, 1, dtype), y = filled(gate.shape(), dtype);
      const Tensor dgate = filled(gate.shape(), dtype), dup = filled(gate.shape(), dtype);
      const Vector gs = to_doubles(gate), us = to_doubles(up), dys = to_doubles(dy);
      const auto f = [](const Vector& g, const Vector& u) {
        Vector out(g.size());
        for (std::size_t i = 0; i < g.size(); ++i) out[i] = silu(g[i]) * u[i];
        return out;
      };
      swiglu_forward(gate, up, y, {});
      EXPECT_TRUE(close(y, f(gs, us), tolerance(dtype)));
      swiglu_backward(gate, up, dy, dgate, dup, {});
      const auto from_gate = [&](const Vector& v) { return f(v, us); };
      const auto from_up = [&](const Vector& v) { return f(gs, v); };
      EXPECT_TRUE(close(dgate, numeric_gradient(from_gate, gs, dys), gradient_tolerance(dtype)));
      EXPECT_TRUE(close(dup, numeric_gradient(from_up, us, dys), gradient_tolerance(dtype)));

      const Tensor gate_in_place = gate.clone(), up_in_place = up.clone();
      swiglu_backward(gate_in_place, up_in_place, dy, gate_in_place, up_in_place, {});
      EXPECT_TRUE(same_bits(gate_in_place, dgate));
      EXPECT_TRUE(same_bits(up_in_place, dup));
      const Tensor forward_in_place = gate.clone();
      swiglu_forward(forward_in_place, up, forward_in_place, {});
      EXPECT_TRUE(same_bits(forward_in_place, y));
    }
  }
}

TEST(SwiGlu, ExtremesStayFinite) {
  const float values[] = {-1e4f, -200, -88, -20, -1e-8f, 0, 1e-8f, 20, 88, 200, 1e4f};
  const Tensor gate = Tensor::from(values, {11}), up = filled({11}, DType::kFloat32, 1), y = filled({11});
  const Tensor dgate = filled({11}), dup = filled({11});
  swiglu_forward(gate, up, y, {});
  swiglu_backward(gate, up, up, dgate, dup, {});
  for (std::size_t i = 0; i < 11; ++i) {
    const double x = values[i], s = sigmoid(x);
    EXPECT_NEAR(y.data<float>()[i], x * s, 1e-6 * std::max(1.0, std::abs(x))) << x;
    EXPECT_NEAR(dup.data<float>()[i], x * s, 1e-6 * std::max(1.0, std::abs(x))) << x;
    EXPECT_NEAR(dgate.data<float>()[i], s * (1 + x * (1 - s)), 3e-6) << x;
  }
}

// ---- gates

struct GateOracle {
  double beta_max;
  Vector operator()(const Vector& z_a, const Vector& z_b, const Vector& a_log, const Vector& dt_bias) const {
    Vector out;
    const std::size_t heads = a_log.size();
    for (std::size_t i = 0; i < z_a.size(); ++i) {
      out.push_back(-std::exp(a_log[i % heads]) * softplus(z_a[i] + dt_bias[i % heads]));
    }
    for (const double z : z_b) out.push_back(beta_max * sigmoid(z));
    return out;
  }
};

TEST(Gates, ForwardAndBackward) {
  for (const float beta_max : {1.0f, 2.0f}) {
    for (const auto [tokens, heads] : {Size{0, 3}, Size{1, 1}, Size{9, 6}, Size{33, 17}}) {
      const Shape shape{tokens, heads};
      const Tensor z_a = random_normal(shape, "a", 3), z_b = random_normal(shape, "b", 2);
      const Tensor a_log = random_normal({heads}, "A"), dt_bias = random_normal({heads}, "dt", 1, -2);
      const Tensor g = filled(shape), beta = filled(shape), dg = random_normal(shape, "dg"),
                   dbeta = random_normal(shape, "db");
      const Vector za = to_doubles(z_a), zb = to_doubles(z_b), al = to_doubles(a_log), dt = to_doubles(dt_bias);
      const GateOracle oracle{beta_max};
      gates_forward({z_a, z_b, a_log, dt_bias, beta_max}, g, beta, {});
      Vector both = to_doubles(g), dboth = to_doubles(dg);
      const Vector betas = to_doubles(beta), dbetas = to_doubles(dbeta);
      both.insert(both.end(), betas.begin(), betas.end());
      dboth.insert(dboth.end(), dbetas.begin(), dbetas.end());
      EXPECT_TRUE(close(both, oracle(za, zb, al, dt), 3e-6));

      const Tensor da = random_normal({heads}, "da"), ddt = random_normal({heads}, "ddt");
      const Vector da_before = to_doubles(da), ddt_before = to_doubles(ddt);
      gates_backward({z_a, z_b, a_log, dt_bias, beta_max}, dg, dbeta, {dg, dbeta, da, ddt}, {});  // in place
      const auto expect = [&](const Tensor& actual, const Vector& expected) {
        EXPECT_TRUE(close(actual, expected, 2e-5));
      };
      expect(dg, numeric_gradient([&](const Vector& v) { return oracle(v, zb, al, dt); }, za, dboth));
      expect(dbeta, numeric_gradient([&](const Vector& v) { return oracle(za, v, al, dt); }, zb, dboth));
      expect(da, plus(numeric_gradient([&](const Vector& v) { return oracle(za, zb, v, dt); }, al, dboth), da_before));
      expect(ddt,
             plus(numeric_gradient([&](const Vector& v) { return oracle(za, zb, al, v); }, dt, dboth), ddt_before));
    }
  }
}

TEST(Gates, ExtremesAreExactAtBothEnds) {
  const float values[] = {-1e4f, -100, -30, -10, 0, 10, 30, 100, 1e4f};
  const Tensor z = Tensor::from(values, {9, 1}), zero = Tensor::zeros({1}), g = filled({9, 1}), beta = filled({9, 1});
  gates_forward({z, z, zero, zero}, g, beta, {});
  for (std::size_t i = 0; i < 9; ++i) {
    const double x = values[i];
    EXPECT_NEAR(g.data<float>()[i], -softplus(x), 3e-6 * softplus(x) + 1e-37) << x;
    EXPECT_NEAR(beta.data<float>()[i], sigmoid(x), 3e-6 * sigmoid(x) + 1e-37) << x;
    EXPECT_LE(g.data<float>()[i], 0);
  }
}

// ---- errors

TEST(RowOps, ShapesThatDoNotFitAreNamed) {
  const Tensor x = Tensor::zeros({4, 8}), other = Tensor::zeros({4, 7}), rstd = Tensor::zeros({4}),
               w = Tensor::zeros({8});
  EXPECT_THAT(error_of([&] { l2_norm_forward(x, 1e-6f, other, rstd, {}); }),
              HasSubstr("[l2_norm_forward] y: expected float32[4, 8], got float32[4, 7]"));
  EXPECT_THAT(error_of([&] { rms_norm_forward(x, Tensor::zeros({7}), 1e-6f, x, rstd, {}); }),
              HasSubstr("[rms_norm_forward] weight"));
  EXPECT_THAT(error_of([&] { rms_norm_backward(x, w, rstd, x, other, x, w, {}); }), HasSubstr("dresidual"));
  EXPECT_THAT(error_of([&] { gated_rms_norm_forward(x, other, w, 1e-6f, x, rstd, {}); }), HasSubstr("gate"));
  EXPECT_THAT(error_of([&] { swiglu_forward(x, other, x, {}); }), HasSubstr("[swiglu_forward] up"));
  EXPECT_THAT(error_of([&] { gates_forward({x, other, w, w}, x, x, {}); }), HasSubstr("[gates_forward] z_b"));
  EXPECT_THAT(error_of([&] { swiglu_forward(x, x.to(DType::kBFloat16), x, {}); }), HasSubstr("bfloat16"));
  EXPECT_THAT(error_of([&] { swiglu_forward({}, x, x, {}); }), HasSubstr("undefined"));
}

}  // namespace
}  // namespace mudelta::testing
