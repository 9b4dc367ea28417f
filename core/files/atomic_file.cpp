#include "core/files/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>

#include "core/error.h"
#include "core/files/file_reader.h"
#include "core/files/file_writer.h"

namespace mudelta {

std::string read_file(const std::filesystem::path& path) { return FileReader(path).text(); }

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  FileWriter file(path);
  file.append(std::as_bytes(std::span(text)));
  file.commit();
}

void sync_folder(const std::filesystem::path& folder) {
  const std::filesystem::path name = folder.empty() ? "." : folder;
  const int descriptor = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  require(descriptor >= 0, "cannot open {}: {}", name.string(), std::strerror(errno));
  const int result = ::fsync(descriptor);
  const int reason = errno;
  ::close(descriptor);
  // EINVAL: the file system cannot sync folders.
  require(result == 0 || reason == EINVAL, "cannot sync {}: {}", name.string(), std::strerror(reason));
}

}  // namespace mudelta
