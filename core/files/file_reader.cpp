#include "core/files/file_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace mudelta {
namespace {

const char* name_of_kind(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

FileReader::Descriptor::~Descriptor() {
  if (value >= 0) ::close(value);
}

FileReader::FileReader(const std::filesystem::path& path)
    : path_(path), descriptor_{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)} {
  require(descriptor_.value >= 0, "cannot open {}: {}", path.string(), std::strerror(errno));
  struct stat status {};
  require(::fstat(descriptor_.value, &status) == 0, "cannot read {}: {}", path.string(), std::strerror(errno));
  require(S_ISREG(status.st_mode), "{} is not a regular file but {}", path.string(), name_of_kind(status.st_mode));
  num_bytes_ = status.st_size;
}

void FileReader::read(std::int64_t begin, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t num_read = ::pread(descriptor_.value, out.data(), out.size(), begin);
    if (num_read < 0 && errno == EINTR) continue;
    require(num_read >= 0, "cannot read {}: {}", path_.string(), std::strerror(errno));
    require(num_read > 0, "{} was cut short while it was in use: it ends at byte {}, expected at least {} bytes",
            path_.string(), begin, begin + std::ssize(out));
    begin += num_read;
    out = out.subspan(static_cast<std::size_t>(num_read));
  }
}

std::string FileReader::text(std::int64_t num_bytes) const {
  std::string text(static_cast<std::size_t>(num_bytes), '\0');
  read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void FileReader::for_each_block(const std::function<void(std::span<const std::byte>)>& visit) const {
  std::vector<std::byte> block(static_cast<std::size_t>(std::min(kBlockBytes, num_bytes_)));
  for (std::int64_t begin = 0; begin < num_bytes_; begin += std::ssize(block)) {
    block.resize(static_cast<std::size_t>(std::min(kBlockBytes, num_bytes_ - begin)));
    read(begin, block);
    visit(block);
  }
}

}  // namespace mudelta
