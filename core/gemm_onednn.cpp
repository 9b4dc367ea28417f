#include "core/gemm_onednn.h"

#include <oneapi/dnnl/dnnl.h>

#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <tuple>

#include "core/error.h"

namespace mudelta::onednn {
namespace {

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::desc operand_desc(std::int64_t rows, std::int64_t cols, bool transposed, dnnl::memory::data_type type) {
  const dnnl::memory::dims strides = transposed ? dnnl::memory::dims{1, rows} : dnnl::memory::dims{cols, 1};
  return {{rows, cols}, type, strides};
}

struct BFloat16Gemm {
  dnnl::memory::desc a, b, c;
  dnnl::matmul primitive;
};

BFloat16Gemm make_bfloat16_gemm(const GemmProblem& p, DType c_dtype) {
  using Type = dnnl::memory::data_type;
  const auto a = operand_desc(p.m, p.k, p.options.transpose_a, Type::bf16);
  const auto b = operand_desc(p.k, p.n, p.options.transpose_b, Type::bf16);
  const auto c = operand_desc(p.m, p.n, false, c_dtype == DType::kBFloat16 ? Type::bf16 : Type::f32);
  dnnl::primitive_attr attributes;
  if (p.options.accumulate) {
    dnnl::post_ops post_ops;
    post_ops.append_sum(1.0f);
    attributes.set_post_ops(post_ops);
  }
  const dnnl::matmul::primitive_desc primitive(dnnl::matmul::desc(a, b, c), attributes, cpu_engine());
  return {a, b, c, dnnl::matmul(primitive)};
}

bool has_instructions(dnnl::cpu_isa isa) { return dnnl::get_effective_cpu_isa() >= isa; }

}  // namespace

void gemm_float32(const Tensor& a, const Tensor& b, const Tensor& c, const GemmProblem& p) {
  const auto status = dnnl_sgemm(p.options.transpose_a ? 'T' : 'N', p.options.transpose_b ? 'T' : 'N', p.m, p.n, p.k,
                                 1.0f, a.data<float>(), a.size(1), b.data<float>(), b.size(1),
                                 p.options.accumulate ? 1.0f : 0.0f, c.data<float>(), p.n);
  require(status == dnnl_success, "[gemm] oneDNN refused {} x {} -> {} (status {})", a.to_string(), b.to_string(),
          c.to_string(), static_cast<int>(status));
}

void gemm_bfloat16(const Tensor& a, const Tensor& b, const Tensor& c, const GemmProblem& p) {
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, bool, bool, bool, DType>;
  thread_local std::map<Key, BFloat16Gemm> cache;
  thread_local dnnl::stream stream(cpu_engine());

  const Key key{p.m, p.n, p.k, p.options.transpose_a, p.options.transpose_b, p.options.accumulate, c.dtype()};
  auto found = cache.find(key);
  if (found == cache.end()) found = cache.emplace(key, make_bfloat16_gemm(p, c.dtype())).first;
  const BFloat16Gemm& op = found->second;
  op.primitive.execute(stream, {{DNNL_ARG_SRC, dnnl::memory(op.a, cpu_engine(), a.raw())},
                                {DNNL_ARG_WEIGHTS, dnnl::memory(op.b, cpu_engine(), b.raw())},
                                {DNNL_ARG_DST, dnnl::memory(op.c, cpu_engine(), c.raw())}});
  stream.wait();
}

bool can_multiply_bfloat16() { return has_instructions(dnnl::cpu_isa::avx512_core); }

bool has_fast_bfloat16() {
  static const bool has = has_instructions(dnnl::cpu_isa::avx512_core_bf16);
  return has;
}

}  // namespace mudelta::onednn
