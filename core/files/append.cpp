#include "core/files/append.h"

#include <unistd.h>

#include <cerrno>

#include "core/error.h"

namespace mudelta {

void append_whole(int file, const std::filesystem::path& path, std::string_view bytes) {
  const off_t end = ::lseek(file, 0, SEEK_END);
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      [[maybe_unused]] const int ignored = ::ftruncate(file, end);
      fail("cannot write {}: is the disk full?", path.string());
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace mudelta
