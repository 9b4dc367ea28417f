// gpu::gemm on cuBLASLt.
#include "core/gemm.h"

#include <glog/logging.h>

#include <map>
#include <tuple>

#include "core/allocator.h"
#include "core/cuda/check.h"
#include "core/error.h"
#include "core/gemm_workspace.h"

namespace mudelta::gpu {
namespace {

cudaDataType_t cuda_type(DType dtype) { return dtype == DType::kBFloat16 ? CUDA_R_16BF : CUDA_R_32F; }

cublasLtHandle_t handle() {
  static const cublasLtHandle_t created = [] {
    cublasLtHandle_t fresh = nullptr;
    MUDELTA_CUBLAS(cublasLtCreate(&fresh));
    return fresh;
  }();
  return created;
}

// The largest power of two up to 256 that the address is a multiple of: algorithms differ in what they need.
std::uint32_t alignment_of(const Tensor& tensor) {
  std::uint32_t alignment = 256;
  while (reinterpret_cast<std::uintptr_t>(tensor.raw()) % alignment != 0) alignment /= 2;
  return alignment;
}

// cuBLASLt's matrices are column-major. A row-major matrix is its own transpose there, so that what is computed is
// c^T = op(b)^T op(a)^T, with `first` = b and `second` = a.
struct Key {
  std::int64_t m, n, k;  // of c, as core/gemm.h has them
  bool transpose_a, transpose_b, accumulate;
  DType operands, result;
  std::uint32_t alignment_a, alignment_b, alignment_c;
  auto operator<=>(const Key&) const = default;
};

Key key_of(const Tensor& a, const Tensor& b, const Tensor& c, const GemmOptions& options) {
  return {c.size(0),           c.size(1),           a.size(options.transpose_a ? 0 : 1),
          options.transpose_a, options.transpose_b, options.accumulate,
          a.dtype(),           c.dtype(),           alignment_of(a),
          alignment_of(b),     alignment_of(c)};
}

// Descriptors live as long as the process: there are as many as the model has shapes of products.
struct Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
};

cublasLtMatrixLayout_t make_layout(const Tensor& row_major) {
  cublasLtMatrixLayout_t layout = nullptr;
  MUDELTA_CUBLAS(cublasLtMatrixLayoutCreate(&layout, cuda_type(row_major.dtype()),
                                            static_cast<std::uint64_t>(row_major.size(1)),
                                            static_cast<std::uint64_t>(row_major.size(0)), row_major.size(1)));
  return layout;
}

template <class T>
void set(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  MUDELTA_CUBLAS(cublasLtMatmulDescSetAttribute(product, attribute, &value, sizeof value));
}

template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
  MUDELTA_CUBLAS(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value));
}

Plan make_plan(const Tensor& a, const Tensor& b, const Tensor& c, const Key& key) {
  Plan plan;
  // float32 accumulation, and float32 operands as they are (never TF32)
  MUDELTA_CUBLAS(cublasLtMatmulDescCreate(&plan.product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  set(plan.product, CUBLASLT_MATMUL_DESC_TRANSA, key.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(plan.product, CUBLASLT_MATMUL_DESC_TRANSB, key.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  plan.first = make_layout(b);
  plan.second = make_layout(a);
  plan.result = make_layout(c);

  cublasLtMatmulPreference_t preference = nullptr;
  MUDELTA_CUBLAS(cublasLtMatmulPreferenceCreate(&preference));
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(kCublasWorkspaceBytes));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.alignment_b);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.alignment_a);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.alignment_c);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.alignment_c);
  cublasLtMatmulHeuristicResult_t best{};
  const auto find_algorithm = [&](cublasLtReductionScheme_t schemes) {
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<std::uint32_t>(schemes));
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle(), plan.product, plan.first, plan.second, plan.result, plan.result, preference, 1, &best, &found);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    return found == 1 ? best.state : CUBLAS_STATUS_NOT_SUPPORTED;
  };
  cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
  if (key.result == DType::kBFloat16) {  // partial sums of split products are not rounded before they are added
    status = find_algorithm(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    if (status != CUBLAS_STATUS_SUCCESS) {
      LOG_FIRST_N(WARNING, 1) << "cuBLASLt has no algorithm for " << a.to_string() << " x " << b.to_string() << " -> "
                              << c.to_string() << " that adds partial sums in float32: it may round them first";
    }
  }
  if (status != CUBLAS_STATUS_SUCCESS) status = find_algorithm(CUBLASLT_REDUCTION_SCHEME_MASK);
  cublasLtMatmulPreferenceDestroy(preference);
  require(status == CUBLAS_STATUS_SUCCESS, "[gemm] cuBLASLt has no algorithm for {} x {} -> {}: {}", a.to_string(),
          b.to_string(), c.to_string(), cublasLtGetStatusString(status));
  plan.algorithm = best.algo;
  return plan;
}

}  // namespace

void check_cublas(cublasStatus_t status, std::string_view call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail("{} failed: {}", call.substr(0, call.find('(')), cublasLtGetStatusString(status));
}

void gemm(const Tensor& a, const Tensor& b, const Tensor& c, const GemmOptions& options, StreamHandle stream) {
  static std::map<Key, Plan> plans;  // a process uses one device, from one thread
  const Key key = key_of(a, b, c, options);
  auto found = plans.find(key);
  if (found == plans.end()) found = plans.emplace(key, make_plan(a, b, c, key)).first;
  const Plan& plan = found->second;

  const float one = 1.0f, old = options.accumulate ? 1.0f : 0.0f;
  const auto workspace = mudelta::allocate(kCublasWorkspaceBytes, c.device());
  MUDELTA_CUBLAS(cublasLtMatmul(handle(), plan.product, &one, b.raw(), plan.first, a.raw(), plan.second, &old, c.raw(),
                                plan.result, c.raw(), plan.result, &plan.algorithm, workspace.get(),
                                static_cast<std::size_t>(kCublasWorkspaceBytes), static_cast<cudaStream_t>(stream)));
}

std::int64_t gemm_workspace_bytes() { return kCublasWorkspaceBytes; }

}  // namespace mudelta::gpu
