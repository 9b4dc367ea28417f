#include "data/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace mudelta {
namespace {

// Closes the descriptor at the end of a scope; the mapping outlives it.
class Descriptor {
 public:
  explicit Descriptor(const std::filesystem::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    require(fd_ >= 0, "cannot open {}: {}", path.string(), std::strerror(errno));
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file(path);
  struct stat status {};
  require(::fstat(file.get(), &status) == 0, "cannot read {}: {}", path.string(), std::strerror(errno));
  require(S_ISREG(status.st_mode), "{} is not a regular file", path.string());
  num_bytes_ = static_cast<std::size_t>(status.st_size);
  if (num_bytes_ == 0) return;
  void* mapping = ::mmap(nullptr, num_bytes_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  require(mapping != MAP_FAILED, "cannot map {} ({} bytes): {}", path.string(), num_bytes_, std::strerror(errno));
  data_ = {static_cast<const std::byte*>(mapping),
           [size = num_bytes_](const std::byte* data) { ::munmap(const_cast<std::byte*>(data), size); }};
}

std::string xxh64_of(std::span<const std::byte> bytes) {
  return fmt::format("{:016x}", XXH64(bytes.data(), bytes.size(), 0));
}

}  // namespace mudelta
