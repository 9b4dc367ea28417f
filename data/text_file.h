#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mudelta {

// Why a file whose text begins with `head` (a block of it, or all) is surely no text to learn from, and what to do:
// "is compressed by gzip: unpack it first (gunzip -k a.txt.gz)". Empty if it may be text.
// Recognised: compressed files and archives, PDF, Parquet, UTF-16, JSON lines, and what has a zero byte near its start.
std::string why_not_text(const std::filesystem::path& path, std::string_view head);

bool has_crlf_line_ends(std::string_view head);

}  // namespace mudelta
