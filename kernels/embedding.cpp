#include "kernels/embedding.h"

#include <omp.h>

#include <algorithm>

#include "kernels/check.h"
#include "kernels/cuda_twin.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/embedding.cpp"
#include "hwy/foreach_target.h"
#include "kernels/simd/io-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mudelta::kernels::HWY_NAMESPACE {
namespace {

void forward(const Tensor& table, const Tensor& tokens, const Tensor& y, std::int64_t first_token) {
  const std::int64_t width = table.size(1), num_rows = table.size(0);
  const std::int32_t* rows = tokens.data<std::int32_t>();
  float* y_data = y.data<float>();
  dispatch_float(table.dtype(), [&]<class T>() {
    const T* table_data = table.data<T>();
    RowBlocks(y.size(0), width).for_each([=](std::int64_t, std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const std::int64_t row = rows[t] - first_token;
        float* to = y_data + t * width;
        if (row < 0 || row >= num_rows) {
          std::fill_n(to, width, 0.0f);
          continue;
        }
        const T* from = table_data + row * width;
        for_each_vector(width, [=](std::int64_t i, auto lanes) { store(load(from + i, lanes), to + i, lanes); });
      }
    });
  });
}

// Each thread takes some columns and goes through all tokens in order, so that no two threads add to one element
// and the order of the additions does not depend on how many threads there are.
void backward(const Tensor& tokens, const Tensor& dy, const Tensor& dtable, std::int64_t first_token) {
  constexpr std::int64_t kColumnMultiple = 16;  // a cache line
  const std::int64_t n = dy.size(0), width = dy.size(1), num_rows = dtable.size(0), threads = omp_get_max_threads();
  const std::int64_t columns = ((width - 1) / threads / kColumnMultiple + 1) * kColumnMultiple;
  const std::int32_t* rows = tokens.data<std::int32_t>();
  const float* dy_data = dy.data<float>();
  float* dtable_data = dtable.data<float>();
  parallel_for((width + columns - 1) / columns, [=](std::int64_t slab) {
    const std::int64_t begin = slab * columns, end = std::min(begin + columns, width);
    for (std::int64_t t = 0; t < n; ++t) {
      const std::int64_t row = rows[t] - first_token;
      if (row < 0 || row >= num_rows) continue;
      const float* from = dy_data + t * width;
      float* to = dtable_data + row * width;
      for_each_vector(begin, end, [=](std::int64_t i, auto lanes) {
        store(hn::Add(load(to + i, lanes), load(from + i, lanes)), to + i, lanes);
      });
    }
  });
}

}  // namespace
}  // namespace mudelta::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mudelta::kernels {
namespace {

HWY_EXPORT(forward);
HWY_EXPORT(backward);

void check_tokens(std::string_view op, const Tensor& tokens, std::int64_t n, const VocabularyPart& part,
                  std::int64_t rows) {
  expect_part(op, part, rows);
  expect_indices(op, "tokens", tokens, n, 0, vocab_of(part, rows));
}

}  // namespace

void embedding_forward(const Tensor& table, const Tensor& tokens, const Tensor& y, Stream stream,
                       const VocabularyPart& part) {
  constexpr auto kOp = "embedding_forward";
  expect_floating_matrix(kOp, "table", table, "[vocab, width]");
  expect_float32_matrix(kOp, "y", y, "[n, width]");
  expect_tensor(kOp, "y", y, {y.size(0), table.size(1)}, DType::kFloat32);
  check_tokens(kOp, tokens, y.size(0), part, table.size(0));
  if (table.device().is_cuda()) return cuda_twin<embedding_forward>()(table, tokens, y, stream, part);
  HWY_DYNAMIC_DISPATCH(forward)(table, tokens, y, part.begin);
}

void embedding_backward(const Tensor& tokens, const Tensor& dy, const Tensor& dtable, Stream stream,
                        const VocabularyPart& part) {
  constexpr auto kOp = "embedding_backward";
  expect_float32_matrix(kOp, "dy", dy, "[n, width]");
  expect_float32_matrix(kOp, "dtable", dtable, "[vocab, width]");
  expect_tensor(kOp, "dtable", dtable, {dtable.size(0), dy.size(1)}, DType::kFloat32);
  check_tokens(kOp, tokens, dy.size(0), part, dtable.size(0));
  if (dtable.device().is_cuda()) return cuda_twin<embedding_backward>()(tokens, dy, dtable, stream, part);
  HWY_DYNAMIC_DISPATCH(backward)(tokens, dy, dtable, part.begin);
}

}  // namespace mudelta::kernels
#endif  // HWY_ONCE
