#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace mudelta {

// Bytes that this process may use together with the others of its control group (version 1 or 2) or of one around that;
// nothing where no group has a limit. `root`: the folder that holds proc/ and sys/.
std::optional<std::int64_t> control_group_memory(const std::filesystem::path& root = "/");

// Bytes of memory that the processes of this host can use: what it has, or what their control group may use of it.
std::int64_t host_memory();

}  // namespace mudelta
