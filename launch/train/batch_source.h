#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>

#include "data/loader.h"
#include "launch/train/batch_upload.h"

namespace mudelta {

// Rows [first, first + count) of a run. Throws Error.
using ReadRows = std::function<Batch(std::int64_t first, std::int64_t count)>;

// Rows as batches on the device that computes.
class BatchSource {
 public:
  // few_shapes: empty sequences are added to each batch, up to a power of two, so that there are few numbers of them.
  BatchSource(ReadRows read, Device device, std::int64_t vocab_size, bool few_shapes);

  // Rows [first, first + count). Throws Error on what reading or the upload refuses.
  Batch rows(std::int64_t first, std::int64_t count);
  // On a GPU: fetches these rows while it works, for the next call of rows(), which throws what went wrong here.
  void fetch_ahead(std::int64_t first, std::int64_t count);

 private:
  Batch load(std::int64_t first, std::int64_t count);

  ReadRows read_;
  Device device_;
  bool few_shapes_;
  BatchUpload upload_;
  std::optional<std::pair<std::int64_t, Batch>> ahead_;  // the first row and the batch
};

}  // namespace mudelta
