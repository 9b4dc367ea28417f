#include "data/tokenizers/separator.h"

#include "core/error.h"

namespace mudelta {
namespace {

constexpr std::string_view kUsual[] = {"<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>", "[EOS]"};

}  // namespace

std::int32_t find_separator(std::string_view name,
                            const std::function<std::optional<std::int32_t>(std::string_view)>& find) {
  if (!name.empty()) {
    const auto id = find(name);
    require(id.has_value(), "it has no token {}, which was to start documents", name);
    return *id;
  }
  for (const std::string_view usual : kUsual) {
    if (const auto id = find(usual)) return *id;
  }
  fail("it has none of the usual tokens for the end of a text ({}), one of which is to start documents: name another",
       fmt::join(kUsual, ", "));
}

}  // namespace mudelta
