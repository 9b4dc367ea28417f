#pragma once

namespace mudelta::kernels {

// The CUDA twin of a public function of this room: the function of the same name and contract in namespace cuda
// (NAME.cu). The public function checks its arguments, and calls its twin for tensors on a GPU:
//   if (x.device().is_cuda()) return cuda_twin<add_to>()(x, y, stream);
// Values inside device tensors (tokens, targets, cu_seqlens) are not checked there: whoever made them on the host has.
// Defined by cuda_twin.cpp in programs with CUDA (or the emulator), by no_cuda_twin.cpp in others: then throws Error.
template <auto kFunction>
decltype(kFunction) cuda_twin();

}  // namespace mudelta::kernels
