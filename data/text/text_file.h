#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mudelta {

// Why a file whose text, unpacked, begins with `head` (a block of it, or all) is surely no text to learn from, and what
// to do: "is compressed by xz: unpack it first (xz -dk a.txt.xz)". Empty if it may be text.
// Recognised: compressed files and archives, PDF, Parquet, UTF-16, and what has a zero byte near its start.
std::string why_not_text(const std::filesystem::path& path, std::string_view head);

// Whether it holds JSON lines, by its name (.jsonl or .ndjson, perhaps before .gz or .zst) or by two first lines that
// are objects.
bool is_json_lines(const std::filesystem::path& path, std::string_view head);

bool has_crlf_line_ends(std::string_view head);

}  // namespace mudelta
