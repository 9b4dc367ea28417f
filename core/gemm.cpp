#include "core/gemm.h"

#include <oneapi/dnnl/dnnl.h>

#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <string_view>
#include <tuple>

#include "core/error.h"

namespace mudelta {
namespace {

struct Problem {
  std::int64_t m, n, k;
  GemmOptions options;
};

void gemm_float32(const Tensor& a, const Tensor& b, const Tensor& c, const Problem& p) {
  const auto status = dnnl_sgemm(p.options.transpose_a ? 'T' : 'N', p.options.transpose_b ? 'T' : 'N', p.m, p.n, p.k,
                                 1.0f, a.data<float>(), a.size(1), b.data<float>(), b.size(1),
                                 p.options.accumulate ? 1.0f : 0.0f, c.data<float>(), p.n);
  require(status == dnnl_success, "[gemm] oneDNN refused {} x {} -> {} (status {})", a.to_string(), b.to_string(),
          c.to_string(), static_cast<int>(status));
}

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::desc operand_desc(std::int64_t rows, std::int64_t cols, bool transposed, dnnl::memory::data_type type) {
  const dnnl::memory::dims strides = transposed ? dnnl::memory::dims{1, rows} : dnnl::memory::dims{cols, 1};
  return {{rows, cols}, type, strides};
}

// Older CPUs emulate bfloat16 products, which is slower than float32 ones.
bool cpu_has_bfloat16_gemm() {
  static const bool has = dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_bf16;
  return has;
}

struct BFloat16Gemm {
  dnnl::memory::desc a, b, c;
  dnnl::matmul primitive;
};

BFloat16Gemm make_bfloat16_gemm(const Problem& p, DType c_dtype) {
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

void gemm_bfloat16(const Tensor& a, const Tensor& b, const Tensor& c, const Problem& p) {
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

// Throws Error unless the matrices fit together.
Problem checked_problem(const Tensor& a, const Tensor& b, const Tensor& c, GemmOptions options) {
  const auto refuse = [&](std::string_view expectation) {
    fail("[gemm] expected {}, got a {}, b {}, c {} (transpose_a {}, transpose_b {}, accumulate {})", expectation,
         a.to_string(), b.to_string(), c.to_string(), options.transpose_a, options.transpose_b, options.accumulate);
  };
  if (a.shape().rank() != 2 || b.shape().rank() != 2 || c.shape().rank() != 2) refuse("matrices");
  const Problem p{a.size(options.transpose_a ? 1 : 0), b.size(options.transpose_b ? 0 : 1),
                  a.size(options.transpose_a ? 0 : 1), options};
  if (b.size(options.transpose_b ? 1 : 0) != p.k || c.size(0) != p.m || c.size(1) != p.n) {
    refuse("op(a) [M, K], op(b) [K, N], c [M, N]");
  }
  if (a.dtype() != b.dtype() || a.dtype() == DType::kInt32) refuse("operands of one floating dtype");
  const bool narrow_c = c.dtype() == DType::kBFloat16 && a.dtype() == DType::kBFloat16 && !options.accumulate;
  if (c.dtype() != DType::kFloat32 && !narrow_c) refuse("c float32, or bfloat16 written from bfloat16 operands");
  return p;
}

}  // namespace

void gemm(const Tensor& a, const Tensor& b, const Tensor& c, GemmOptions options, Stream) {
  const Problem p = checked_problem(a, b, c, options);
  if (p.m == 0 || p.n == 0) return;
  if (p.k == 0) {
    if (!options.accumulate) c.fill_zero();
    return;
  }
  if (a.dtype() == DType::kFloat32) return gemm_float32(a, b, c, p);
  if (cpu_has_bfloat16_gemm()) return gemm_bfloat16(a, b, c, p);
  if (c.dtype() == DType::kFloat32) return gemm_float32(a.to(DType::kFloat32), b.to(DType::kFloat32), c, p);
  const Tensor wide = Tensor::empty(c.shape());
  gemm_float32(a.to(DType::kFloat32), b.to(DType::kFloat32), wide, p);
  c.copy_from(wide.to(DType::kBFloat16));
}

void linear_backward(const Tensor& x, const Tensor& w, const Tensor& dy, const Tensor& dx, bool accumulate_dx,
                     const Tensor& dw, Stream stream) {
  if (dx.defined()) gemm(dy, w, dx, {.accumulate = accumulate_dx}, stream);
  gemm(dy, x, dw, {.transpose_a = true, .accumulate = true}, stream);
}

}  // namespace mudelta
