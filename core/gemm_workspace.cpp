#include "core/gemm_workspace.h"

#include "core/gemm_onednn.h"
#include "core/gemm_simd.h"

namespace mudelta {

LiveTensors gemm_workspace(std::int64_t m, std::int64_t n, std::int64_t k, DType operands, DType result,
                           Device device) {
  LiveTensors live;
  if (m == 0 || n == 0 || k == 0) return live;
  if (device.is_cuda()) {
    if (gpu::gemm_workspace_bytes() > 0) live.add_bytes(static_cast<double>(gpu::gemm_workspace_bytes()));
    return live;
  }
  if (operands == DType::kBFloat16 && onednn::has_fast_bfloat16()) return live;
  LiveTensors packed;
  packed.add(simd::packed_shape(n, k), DType::kFloat32);
  if (result == DType::kFloat32) return packed;
  LiveTensors wide, rounded;
  wide.add({m, n}, DType::kFloat32);
  rounded.add({m, n}, DType::kBFloat16);
  return wide + larger(packed, rounded);
}

LiveTensors linear_backward_workspace(std::int64_t tokens, std::int64_t in, std::int64_t out, DType operands, DType dx,
                                      Device device) {
  return larger(gemm_workspace(tokens, in, out, operands, dx, device),
                gemm_workspace(out, in, tokens, operands, DType::kFloat32, device));
}

}  // namespace mudelta
