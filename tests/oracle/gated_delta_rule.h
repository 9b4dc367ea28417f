#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

// The gated delta rule token by token in float64, and its adjoint: plain loops, straight from the definition in
// kernels/gated_delta_rule/gated_delta_rule.h.
namespace mudelta::oracle {

struct GatedDeltaRule {
  std::int64_t heads, value_heads, key_dim, value_dim;
  double scale;
  std::vector<std::int32_t> cu_seqlens;
  std::vector<double> q, k;           // [tokens, heads, key_dim]
  std::vector<double> v;              // [tokens, value_heads, value_dim]
  std::vector<double> g, beta;        // [tokens, value_heads]
  std::vector<double> initial_state;  // [sequences, value_heads, key_dim, value_dim]

  struct Outputs {
    std::vector<double> o, final_state;
  };
  struct Gradients {
    std::vector<double> dq, dk, dv, dg, dbeta, dinitial_state;
  };

  Outputs forward() const;
  Gradients backward(const std::vector<double>& d_o, const std::vector<double>& dfinal_state) const;

 private:
  std::int64_t state_numel() const { return key_dim * value_dim; }
  std::int64_t key_row(std::int64_t t, std::int64_t h) const {
    return (t * heads + h / (value_heads / heads)) * key_dim;
  }
  std::int64_t value_row(std::int64_t t, std::int64_t h) const { return (t * value_heads + h) * value_dim; }
  std::vector<double> state_before(std::int64_t sequence, std::int64_t h) const {
    const auto begin = initial_state.begin() + (sequence * value_heads + h) * state_numel();
    return {begin, begin + state_numel()};
  }
  // Of token t: e^g S and v - (e^g S)^T k.
  struct Step {
    std::vector<double> decayed, error;
  };
  Step step(std::int64_t t, std::int64_t h, const std::vector<double>& state) const;
  std::vector<double> state_after(std::int64_t t, std::int64_t h, const Step& step) const;
};

inline GatedDeltaRule::Step GatedDeltaRule::step(std::int64_t t, std::int64_t h,
                                                 const std::vector<double>& state) const {
  Step s{state, std::vector<double>(value_dim)};
  for (double& x : s.decayed) x *= std::exp(g[t * value_heads + h]);
  for (std::int64_t c = 0; c < value_dim; ++c) {
    double recalled = 0;
    for (std::int64_t r = 0; r < key_dim; ++r) recalled += s.decayed[r * value_dim + c] * k[key_row(t, h) + r];
    s.error[c] = v[value_row(t, h) + c] - recalled;
  }
  return s;
}

inline std::vector<double> GatedDeltaRule::state_after(std::int64_t t, std::int64_t h, const Step& step) const {
  std::vector<double> state = step.decayed;
  for (std::int64_t r = 0; r < key_dim; ++r) {
    for (std::int64_t c = 0; c < value_dim; ++c) {
      state[r * value_dim + c] += k[key_row(t, h) + r] * beta[t * value_heads + h] * step.error[c];
    }
  }
  return state;
}

inline GatedDeltaRule::Outputs GatedDeltaRule::forward() const {
  Outputs out{std::vector<double>(v.size()), initial_state};
  for (std::size_t n = 0; n + 1 < cu_seqlens.size(); ++n) {
    for (std::int64_t h = 0; h < value_heads; ++h) {
      std::vector<double> state = state_before(n, h);
      for (std::int64_t t = cu_seqlens[n]; t < cu_seqlens[n + 1]; ++t) {
        state = state_after(t, h, step(t, h, state));
        for (std::int64_t r = 0; r < key_dim; ++r) {
          for (std::int64_t c = 0; c < value_dim; ++c) {
            out.o[value_row(t, h) + c] += scale * state[r * value_dim + c] * q[key_row(t, h) + r];
          }
        }
      }
      std::copy(state.begin(), state.end(), out.final_state.begin() + (n * value_heads + h) * state_numel());
    }
  }
  return out;
}

inline GatedDeltaRule::Gradients GatedDeltaRule::backward(const std::vector<double>& d_o,
                                                          const std::vector<double>& dfinal_state) const {
  const auto zeros = [](const std::vector<double>& x) { return std::vector<double>(x.size()); };
  Gradients out{zeros(q), zeros(k), zeros(v), zeros(g), zeros(beta), dfinal_state};
  for (std::size_t n = 0; n + 1 < cu_seqlens.size(); ++n) {
    for (std::int64_t h = 0; h < value_heads; ++h) {
      std::vector<std::vector<double>> states{state_before(n, h)};
      for (std::int64_t t = cu_seqlens[n]; t < cu_seqlens[n + 1]; ++t) {
        states.push_back(state_after(t, h, step(t, h, states.back())));
      }
      double* dstate = out.dinitial_state.data() + (n * value_heads + h) * state_numel();
      for (std::int64_t t = cu_seqlens[n + 1] - 1; t >= cu_seqlens[n]; --t) {
        const std::vector<double>& after = states.back();
        const std::vector<double> before = states[states.size() - 2];
        const Step s = step(t, h, before);
        const std::int64_t gate = t * value_heads + h, key = key_row(t, h), value = value_row(t, h);
        // o = scale S^T q
        for (std::int64_t r = 0; r < key_dim; ++r) {
          for (std::int64_t c = 0; c < value_dim; ++c) {
            out.dq[key + r] += scale * after[r * value_dim + c] * d_o[value + c];
            dstate[r * value_dim + c] += scale * q[key + r] * d_o[value + c];
          }
        }
        // S = decayed + k beta error^T
        std::vector<double> derror(value_dim);
        for (std::int64_t r = 0; r < key_dim; ++r) {
          for (std::int64_t c = 0; c < value_dim; ++c) {
            const double ds = dstate[r * value_dim + c];
            out.dk[key + r] += ds * beta[gate] * s.error[c];
            out.dbeta[gate] += ds * k[key + r] * s.error[c];
            derror[c] += ds * k[key + r] * beta[gate];
          }
        }
        // error = v - decayed^T k, decayed = e^g S_before
        for (std::int64_t c = 0; c < value_dim; ++c) out.dv[value + c] += derror[c];
        for (std::int64_t r = 0; r < key_dim; ++r) {
          for (std::int64_t c = 0; c < value_dim; ++c) {
            double& ds = dstate[r * value_dim + c];
            out.dk[key + r] -= s.decayed[r * value_dim + c] * derror[c];
            ds -= k[key + r] * derror[c];
            out.dg[gate] += ds * s.decayed[r * value_dim + c];
            ds *= std::exp(g[gate]);
          }
        }
        states.pop_back();
      }
    }
  }
  return out;
}

}  // namespace mudelta::oracle
