#pragma once

#include <cstdint>

namespace mudelta {

// Of the block that allocate() (core/allocator.h) takes for so many bytes: small ones round up to a power of two, large
// ones to an eighth of one, so that at most 12.5 % is wasted there.
std::int64_t block_size(std::int64_t num_bytes);

}  // namespace mudelta
