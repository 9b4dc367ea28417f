#pragma once

#include <filesystem>

namespace mudelta {

// Sets up glog: warnings and errors go to stderr, nothing to files. Once, at the program's start.
void start_logging(const char* program);

// From now on everything is also appended to FOLDER/rank-0003.log, `rank` being this process's. The folder exists.
void log_to_folder(const std::filesystem::path& folder, int rank);

}  // namespace mudelta
