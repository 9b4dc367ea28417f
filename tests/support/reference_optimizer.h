#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace mudelta::testing {

// The optimizers' formulas as plain double loops over one parameter. `decay` is the whole factor on the weight.
struct ReferenceAdamW {
  double beta1, beta2;
  std::vector<double> m, v;
  int t = 0;

  void step(std::vector<double>& w, std::span<const double> g, double lr, double eps, double decay) {
    m.resize(w.size());
    v.resize(w.size());
    ++t;
    for (std::size_t i = 0; i < w.size(); ++i) {
      m[i] = beta1 * m[i] + (1 - beta1) * g[i];
      v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
      const double m_hat = m[i] / (1 - std::pow(beta1, t));
      const double v_hat = v[i] / (1 - std::pow(beta2, t));
      w[i] = w[i] - decay * w[i] - lr * m_hat / (std::sqrt(v_hat) + eps);
    }
  }
};

struct ReferenceSgd {
  double momentum;
  bool nesterov;
  std::vector<double> u;

  void step(std::vector<double>& w, std::span<const double> g, double lr, double decay) {
    u.resize(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) {
      u[i] = momentum * u[i] + g[i];
      const double direction = nesterov ? g[i] + momentum * u[i] : u[i];
      w[i] = w[i] - decay * w[i] - lr * direction;
    }
  }
};

}  // namespace mudelta::testing
