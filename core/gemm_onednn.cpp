#include "core/gemm_onednn.h"

#include <omp.h>

#include <algorithm>
#include <compare>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>

namespace mudelta::onednn {
namespace {

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// oneDNN shares a long k among the threads that a primitive is made for. Made and executed by one, its bits depend on
// the operands alone.
class OneThread {
 public:
  OneThread() { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = omp_get_max_threads();
};

// Tiles of c, cut by its shape alone: at least kWanted, unless they would become too small. Wide ones, as op(a) is
// rearranged for each.
struct Tiles {
  std::int64_t rows = 256, cols = 512;

  Tiles(std::int64_t m, std::int64_t n) {
    constexpr std::int64_t kWanted = 16, kMin = 64;
    const auto count = [&] { return ((m + rows - 1) / rows) * ((n + cols - 1) / cols); };
    while (rows > kMin && count() < kWanted) rows /= 2;
    while (cols > kMin && count() < kWanted) cols /= 2;
  }
};

// An operand's part op(.) [rows, cols] in memory: distances in elements.
struct Strides {
  std::int64_t row, col;
  auto operator<=>(const Strides&) const = default;
};

struct TileKey {
  std::int64_t m, n, k;
  Strides a, b;
  std::int64_t c_stride;
  DType c_dtype;
  bool accumulate;
  auto operator<=>(const TileKey&) const = default;
};

struct TileProduct {
  dnnl::memory::desc a, b, c;
  dnnl::matmul primitive;
};

TileProduct make_tile_product(const TileKey& key) {
  using Type = dnnl::memory::data_type;
  const dnnl::memory::desc a({key.m, key.k}, Type::bf16, {key.a.row, key.a.col});
  const dnnl::memory::desc b({key.k, key.n}, Type::bf16, {key.b.row, key.b.col});
  const dnnl::memory::desc c({key.m, key.n}, key.c_dtype == DType::kBFloat16 ? Type::bf16 : Type::f32,
                             {key.c_stride, 1});
  dnnl::primitive_attr attributes;
  if (key.accumulate) {
    dnnl::post_ops post_ops;
    post_ops.append_sum(1.0f);
    attributes.set_post_ops(post_ops);
  }
  const dnnl::matmul::primitive_desc primitive(dnnl::matmul::desc(a, b, c), attributes, cpu_engine());
  return {a, b, c, dnnl::matmul(primitive)};
}

// c (=, or +=) of a tile. By one thread, among others.
void multiply_tile(const TileKey& key, void* a, void* b, void* c) {
  thread_local std::map<TileKey, TileProduct> made;
  thread_local dnnl::stream stream(cpu_engine());
  const OneThread one_thread;
  auto found = made.find(key);
  if (found == made.end()) found = made.emplace(key, make_tile_product(key)).first;
  const TileProduct& product = found->second;
  product.primitive.execute(stream, {{DNNL_ARG_SRC, dnnl::memory(product.a, cpu_engine(), a)},
                                     {DNNL_ARG_WEIGHTS, dnnl::memory(product.b, cpu_engine(), b)},
                                     {DNNL_ARG_DST, dnnl::memory(product.c, cpu_engine(), c)}});
  stream.wait();
}

bool has_instructions(dnnl::cpu_isa isa) { return dnnl::get_effective_cpu_isa() >= isa; }

}  // namespace

void gemm_bfloat16(const Tensor& a, const Tensor& b, const Tensor& c, const GemmProblem& p) {
  const Strides a_strides = p.options.transpose_a ? Strides{1, p.m} : Strides{p.k, 1};
  const Strides b_strides = p.options.transpose_b ? Strides{1, p.k} : Strides{p.n, 1};
  const std::int64_t operand_bytes = size_of(DType::kBFloat16), c_bytes = size_of(c.dtype());
  const Tiles tile(p.m, p.n);
#pragma omp parallel for collapse(2) schedule(dynamic, 1)
  for (std::int64_t i = 0; i < p.m; i += tile.rows) {
    for (std::int64_t j = 0; j < p.n; j += tile.cols) {
      const TileKey key{
          std::min(tile.rows, p.m - i), std::min(tile.cols, p.n - j), p.k, a_strides, b_strides, p.n, c.dtype(),
          p.options.accumulate};
      multiply_tile(key, a.raw() + i * a_strides.row * operand_bytes, b.raw() + j * b_strides.col * operand_bytes,
                    c.raw() + (i * p.n + j) * c_bytes);
    }
  }
}

bool can_multiply_bfloat16() { return has_instructions(dnnl::cpu_isa::avx512_core); }

bool has_fast_bfloat16() {
  static const bool has = has_instructions(dnnl::cpu_isa::avx512_core_bf16);
  return has;
}

}  // namespace mudelta::onednn
