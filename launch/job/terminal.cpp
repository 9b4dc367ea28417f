#include "launch/job/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

namespace mudelta {
namespace {

constexpr int kUsualColumns = 80;

int columns_of(int descriptor) {
  if (::isatty(descriptor) == 0) return 0;
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsualColumns;
  return size.ws_col;
}

}  // namespace

int terminal_columns(std::FILE* out) {
  const int descriptor = ::fileno(out);
  const int columns = columns_of(descriptor);
  if (columns == 0 || std::getenv("OMPI_COMM_WORLD_RANK") == nullptr) return columns;
  // Another host's launcher is no child of a terminal: its output is not one either.
  const int launchers = ::open(fmt::format("/proc/{}/fd/{}", ::getppid(), descriptor).c_str(), O_WRONLY | O_NOCTTY);
  if (launchers < 0) return 0;
  const int launcher_columns = columns_of(launchers);
  ::close(launchers);
  return launcher_columns;
}

}  // namespace mudelta
