#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mudelta {

// The whole content of a file. Throws Error, naming the path and the system's reason, if it cannot be read.
std::string read_file(const std::filesystem::path& path);

// Replaces the file at `path` by one that holds `text`: a crash at any instant leaves the old file or the new one,
// whole and on the disk. Writes a temporary file beside it, syncs it and renames it. A device, pipe or FIFO is not
// replaced but written (core/files/file_writer.h).
// Throws Error, naming the path and the system's reason; the old file is then as it was and the temporary one gone.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

// Puts on the disk which names a folder holds: needed after a rename or a new file in it. Throws Error.
void sync_folder(const std::filesystem::path& folder);

}  // namespace mudelta
