// A library to link before others or to preload (LD_PRELOAD): the system fails in one chosen call on the files of one
// folder. What it does is said by arm_fault (tests/support/fault_shim.h) or by the environment:
//   MUDELTA_FAULT_PATH   part of the paths that count
//   MUDELTA_FAULT_KIND   ENOSPC, EIO or EINTR: the call fails; SHORT: it writes half of the bytes (writes alone count);
//                        HOLD: it waits (syncs of files alone count) until there is a file MUDELTA_FAULT_GATE.open
//   MUDELTA_FAULT_CALL   which of the calls that count, from 1; 0: none
//   MUDELTA_FAULT_GATE   HOLD makes GATE.reached, and every process that counts appends to GATE.calls at its end

#include "tests/support/fault_shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

enum class Call { kWrite, kSync, kOther };

struct Shim {
  std::string path = setting("MUDELTA_FAULT_PATH"), kind = setting("MUDELTA_FAULT_KIND"),
              gate = setting("MUDELTA_FAULT_GATE");
  long chosen = std::strtol(setting("MUDELTA_FAULT_CALL").c_str(), nullptr, 10);
  std::atomic<long> calls = 0;
  std::array<std::atomic<bool>, 4096> is_watched = {};  // by descriptor
  std::atomic<bool> is_ready = true;

  ~Shim() {
    is_ready = false;
    if (gate.empty()) return;
    if (std::FILE* file = std::fopen((gate + ".calls").c_str(), "a")) {
      std::fprintf(file, "%ld\n", calls.load());
      std::fclose(file);
    }
  }

  bool watches(const char* name) const {
    return is_ready && !path.empty() && name != nullptr && std::strstr(name, path.c_str()) != nullptr;
  }
  bool watches(int descriptor) const {
    return is_ready && descriptor >= 0 && static_cast<std::size_t>(descriptor) < is_watched.size() &&
           is_watched[static_cast<std::size_t>(descriptor)];
  }
  void watch(int descriptor, bool watched) {
    if (descriptor >= 0 && static_cast<std::size_t>(descriptor) < is_watched.size()) {
      is_watched[static_cast<std::size_t>(descriptor)] = watched;
    }
  }

  // Whether this call, which counts, is the one to go wrong.
  bool strikes(Call call) {
    if ((kind == "SHORT" && call != Call::kWrite) || (kind == "HOLD" && call != Call::kSync)) return false;
    return ++calls == chosen;
  }
  // Sets errno; true: the call fails.
  bool fails(Call call) {
    if (!strikes(call)) return false;
    if (kind == "HOLD") {
      ::close(::creat((gate + ".reached").c_str(), 0666));
      while (::access((gate + ".open").c_str(), F_OK) != 0) ::usleep(1000);
      return false;
    }
    errno = kind == "ENOSPC" ? ENOSPC : kind == "EINTR" ? EINTR : EIO;
    return true;
  }
};

Shim& shim() {
  static Shim it;
  return it;
}

template <class F>
F* next(const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

int open_as(const char* symbol, const char* path, int flags, mode_t mode) {
  const bool counts = shim().watches(path);
  if (counts && shim().fails(Call::kOther)) return -1;
  const int descriptor = next<int(const char*, int, ...)>(symbol)(path, flags, mode);
  shim().watch(descriptor, counts);
  return descriptor;
}

// Whether the write fails; it may be made shorter instead.
bool spoils_write(size_t& size) {
  if (shim().kind != "SHORT") return shim().fails(Call::kWrite);
  if (size > 1 && shim().strikes(Call::kWrite)) size /= 2;
  return false;
}

ssize_t pwrite_as(const char* symbol, int descriptor, const void* bytes, size_t size, off_t offset) {
  if (shim().watches(descriptor) && spoils_write(size)) return -1;
  return next<ssize_t(int, const void*, size_t, off_t)>(symbol)(descriptor, bytes, size, offset);
}

}  // namespace

void arm_fault(const std::string& path, const std::string& kind, long call) {
  shim().path = path;
  shim().kind = kind;
  shim().chosen = call;
  shim().calls = 0;
}

long calls_that_count() { return shim().calls; }

#define MODE_OF(flags)                           \
  va_list arguments;                             \
  va_start(arguments, flags);                    \
  const mode_t mode = va_arg(arguments, mode_t); \
  va_end(arguments)

extern "C" {

int open(const char* path, int flags, ...) {
  MODE_OF(flags);
  return open_as("open", path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  MODE_OF(flags);
  return open_as("open64", path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  MODE_OF(flags);
  const bool counts = shim().watches(path) || shim().watches(folder);
  if (counts && shim().fails(Call::kOther)) return -1;
  const int descriptor = next<int(int, const char*, int, ...)>("openat")(folder, path, flags, mode);
  shim().watch(descriptor, counts);
  return descriptor;
}
int mkdir(const char* path, mode_t mode) {
  if (shim().watches(path) && shim().fails(Call::kOther)) return -1;
  return next<int(const char*, mode_t)>("mkdir")(path, mode);
}
int rename(const char* from, const char* to) {
  if (shim().watches(from) && shim().fails(Call::kOther)) return -1;
  return next<int(const char*, const char*)>("rename")(from, to);
}
int unlink(const char* path) {
  if (shim().watches(path) && shim().fails(Call::kOther)) return -1;
  return next<int(const char*)>("unlink")(path);
}
int unlinkat(int folder, const char* path, int flags) {
  if ((shim().watches(path) || shim().watches(folder)) && shim().fails(Call::kOther)) return -1;
  return next<int(int, const char*, int)>("unlinkat")(folder, path, flags);
}
int fsync(int descriptor) {
  if (shim().watches(descriptor) && shim().fails(Call::kSync)) return -1;
  return next<int(int)>("fsync")(descriptor);
}
int close(int descriptor) {
  const bool counts = shim().watches(descriptor);
  shim().watch(descriptor, false);
  const int result = next<int(int)>("close")(descriptor);
  return counts && shim().fails(Call::kOther) ? -1 : result;
}
ssize_t write(int descriptor, const void* bytes, size_t size) {
  if (shim().watches(descriptor) && spoils_write(size)) return -1;
  return next<ssize_t(int, const void*, size_t)>("write")(descriptor, bytes, size);
}
ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  return pwrite_as("pwrite", descriptor, bytes, size, offset);
}
ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off_t offset) {
  return pwrite_as("pwrite64", descriptor, bytes, size, offset);
}
}
