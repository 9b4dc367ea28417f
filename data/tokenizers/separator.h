#pragma once

#include <functional>
#include <optional>
#include <string_view>

namespace mudelta {

// The id of the token that starts documents: `name`, or, if that is empty, the first of the names that are usual for
// the end of a text. `find` gives a token's id. Throws Error if there is none.
std::int32_t find_separator(std::string_view name,
                            const std::function<std::optional<std::int32_t>(std::string_view)>& find);

}  // namespace mudelta
