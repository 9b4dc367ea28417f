#pragma once

#include <filesystem>
#include <initializer_list>
#include <string_view>

// Where a command writes its results: never over what is there, unless it is told to.

namespace mudelta {

// Throws Error, naming the file and the options that help, if there is such a file and not `force`, or if it is a
// folder. A device or pipe will do.
void require_free_file(const std::filesystem::path& file, bool force);

// The same unless `folder` is absent or, but for entries of the names `ignored`, empty.
void require_free_folder(const std::filesystem::path& folder, bool force,
                         std::initializer_list<std::string_view> ignored = {});

// Makes the folder and those above it if need be. Throws Error.
void make_folder(const std::filesystem::path& folder);

}  // namespace mudelta
