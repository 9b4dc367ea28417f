// The calls that -fsanitize=thread puts before every read and write, in device code and in the host code around it,
// here bound to the emulator's race check in place of ThreadSanitizer's run time (whose interface this is).

#include <cstddef>
#include <cstdint>

#include "simt/block.h"

namespace {

using mudelta::simt::Block;
using mudelta::simt::running_block;

inline void read(const void* memory, std::size_t num_bytes, const void* code) {
  if (Block* block = running_block) {
    block->races().read(memory, static_cast<std::int64_t>(num_bytes), block->running(), code);
  }
}
inline void write(const void* memory, std::size_t num_bytes, const void* code) {
  if (Block* block = running_block) {
    block->races().write(memory, static_cast<std::int64_t>(num_bytes), block->running(), code);
  }
}

// What the compiler gives a failed check (GCC's ubsan.c, LLVM's ubsan_handlers.h).
struct SourceLocation {
  const char* file;
  std::uint32_t line;
  std::uint32_t column;
};
struct TypeMismatch {
  SourceLocation location;
  const void* type;
  unsigned char log2_alignment;
  unsigned char kind;
};

}  // namespace

#define MUDELTA_ACCESS_HOOKS(BYTES)                                                                     \
  void __tsan_read##BYTES(void* memory) { read(memory, BYTES, __builtin_return_address(0)); }           \
  void __tsan_write##BYTES(void* memory) { write(memory, BYTES, __builtin_return_address(0)); }         \
  void __tsan_unaligned_read##BYTES(void* memory) { read(memory, BYTES, __builtin_return_address(0)); } \
  void __tsan_unaligned_write##BYTES(void* memory) { write(memory, BYTES, __builtin_return_address(0)); }

// Atomics are no accesses that could race; device code has none, host code around it has reference counts.
#define MUDELTA_ATOMIC_HOOKS(BITS)                                                                                    \
  using Atomic##BITS = std::uint##BITS##_t;                                                                           \
  Atomic##BITS __tsan_atomic##BITS##_load(const Atomic##BITS* memory, int) {                                          \
    return __atomic_load_n(memory, __ATOMIC_SEQ_CST);                                                                 \
  }                                                                                                                   \
  void __tsan_atomic##BITS##_store(Atomic##BITS* memory, Atomic##BITS value, int) {                                   \
    __atomic_store_n(memory, value, __ATOMIC_SEQ_CST);                                                                \
  }                                                                                                                   \
  Atomic##BITS __tsan_atomic##BITS##_exchange(Atomic##BITS* memory, Atomic##BITS value, int) {                        \
    return __atomic_exchange_n(memory, value, __ATOMIC_SEQ_CST);                                                      \
  }                                                                                                                   \
  Atomic##BITS __tsan_atomic##BITS##_fetch_add(Atomic##BITS* memory, Atomic##BITS value, int) {                       \
    return __atomic_fetch_add(memory, value, __ATOMIC_SEQ_CST);                                                       \
  }                                                                                                                   \
  Atomic##BITS __tsan_atomic##BITS##_fetch_sub(Atomic##BITS* memory, Atomic##BITS value, int) {                       \
    return __atomic_fetch_sub(memory, value, __ATOMIC_SEQ_CST);                                                       \
  }                                                                                                                   \
  Atomic##BITS __tsan_atomic##BITS##_fetch_and(Atomic##BITS* memory, Atomic##BITS value, int) {                       \
    return __atomic_fetch_and(memory, value, __ATOMIC_SEQ_CST);                                                       \
  }                                                                                                                   \
  Atomic##BITS __tsan_atomic##BITS##_fetch_or(Atomic##BITS* memory, Atomic##BITS value, int) {                        \
    return __atomic_fetch_or(memory, value, __ATOMIC_SEQ_CST);                                                        \
  }                                                                                                                   \
  int __tsan_atomic##BITS##_compare_exchange_strong(Atomic##BITS* memory, Atomic##BITS* expected, Atomic##BITS value, \
                                                    int, int) {                                                       \
    return __atomic_compare_exchange_n(memory, expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);           \
  }                                                                                                                   \
  int __tsan_atomic##BITS##_compare_exchange_weak(Atomic##BITS* memory, Atomic##BITS* expected, Atomic##BITS value,   \
                                                  int, int) {                                                         \
    return __atomic_compare_exchange_n(memory, expected, value, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);            \
  }

extern "C" {

MUDELTA_ACCESS_HOOKS(1)
MUDELTA_ACCESS_HOOKS(2)
MUDELTA_ACCESS_HOOKS(4)
MUDELTA_ACCESS_HOOKS(8)
MUDELTA_ACCESS_HOOKS(16)
MUDELTA_ATOMIC_HOOKS(8)
MUDELTA_ATOMIC_HOOKS(16)
MUDELTA_ATOMIC_HOOKS(32)
MUDELTA_ATOMIC_HOOKS(64)

void __tsan_read_range(void* memory, std::size_t num_bytes) { read(memory, num_bytes, __builtin_return_address(0)); }
void __tsan_write_range(void* memory, std::size_t num_bytes) { write(memory, num_bytes, __builtin_return_address(0)); }

// Vector types promise their alignment, and the hardware insists on it; so does the host's, which is why this cannot
// fail later. Kernels have nothing to destroy, so that the exception finds its way out of code that expects none.
void __ubsan_handle_type_mismatch_v1(const TypeMismatch* mismatch, const void* memory) {
  if (Block* block = running_block) {
    block->fail_here("{} is not aligned to {} bytes, as it must be at {}:{}", memory, 1 << mismatch->log2_alignment,
                     mismatch->location.file, mismatch->location.line);
  }
}

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }
}
