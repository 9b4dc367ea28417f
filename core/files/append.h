#pragma once

#include <filesystem>
#include <string_view>

namespace mudelta {

// Appends `bytes` to the open file `file`, which is at `path`. Throws Error, naming it, if they cannot be written; then
// it is as it was: room may come back, and a part of a record would be in the way.
void append_whole(int file, const std::filesystem::path& path, std::string_view bytes);

}  // namespace mudelta
