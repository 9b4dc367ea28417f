#pragma once

#include "core/device.h"
#include "core/live_tensors.h"
#include "core/tensor.h"
#include "optim/config.pb.h"

namespace mudelta {

// x [rows, cols] float32, replaced by about U V^T of its singular value decomposition U S V^T: the nearest matrix with
// orthonormal rows or columns, whichever are fewer. By iterations X <- (a I + b X X^T + c (X X^T)^2) X of x over its
// Frobenius norm, with the factors of `config.coefficients` and in its dtype (Jordan et al., Muon, 2024; Amsel et al.,
// The Polar Express, arXiv 2505.16932). A matrix of zeros stays one. `square_sum` [1] float64 on x's device is written.
void orthogonalize(const Tensor& x, const MuonConfig& config, const Tensor& square_sum, Stream stream);

double orthogonalize_flops(std::int64_t rows, std::int64_t cols, const MuonConfig& config);

// What it allocates beside x.
LiveTensors orthogonalize_workspace(std::int64_t rows, std::int64_t cols, const MuonConfig& config, Device device);

}  // namespace mudelta
