#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace mudelta::simt {

// What memory holds before anything has been written: NaN in every floating-point type, -1 in integers.
constexpr int kPoisonByte = 0xff;

// Makes AddressSanitizer, where it is built in, refuse or allow these bytes.
inline void poison_for_sanitizer([[maybe_unused]] const void* memory, [[maybe_unused]] std::int64_t num_bytes) {
#ifdef __SANITIZE_ADDRESS__
  __asan_poison_memory_region(memory, static_cast<std::size_t>(num_bytes));
#endif
}
inline void unpoison_for_sanitizer([[maybe_unused]] const void* memory, [[maybe_unused]] std::int64_t num_bytes) {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(memory, static_cast<std::size_t>(num_bytes));
#endif
}

}  // namespace mudelta::simt
