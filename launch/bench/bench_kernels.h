#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "model/config.pb.h"

namespace mudelta {

// One op of a training step at the shapes of a model, ready to be timed.
struct KernelCase {
  std::string name;
  double flops;  // of the mathematics, a multiply-add counting two, a transcendental function one
  double bytes;  // operands read once and results written once
  std::function<void()> run;
};

// Every op of a step of `resolved` over `sequences` sequences of `sequence_length` tokens, forward and backward, with
// activations of `dtype`, on the device of `stream`.
std::vector<KernelCase> kernel_cases(const ModelConfig& resolved, std::int64_t sequences, std::int64_t sequence_length,
                                     DType dtype, Stream stream);

}  // namespace mudelta
